// Package shared holds the checks that the Go clients have in common. Each client's program gives it
// a Library, the client behind one interface, and calls Main.
package shared

import (
	"context"
	"fmt"
	"time"
)

// The protocol's error codes that the checks expect.
const (
	unknownTopicOrPartition = 3
	topicAlreadyExists      = 36
	invalidPartitions       = 37
	invalidConfig           = 40
)

// Header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record as written (Offset is ignored then) or read. A nil Key or Value is null.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Time      time.Time
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Partition of a topic.
type Partition struct {
	Topic string
	ID    int32
}

// Committed is a group's offset of a partition: the next record to read.
type Committed struct {
	Offset   int64
	Metadata string
}

// ProduceOptions say how records are written, always with acks=all.
type ProduceOptions struct {
	// Codec is none, gzip, snappy, lz4 or zstd; empty is none.
	Codec      string
	Idempotent bool
}

// GroupOptions say how a consumer joins a group. It starts at the earliest offset, and commits only
// when told to.
type GroupOptions struct {
	Group  string
	Topics []string
	// Pattern is a regular expression to subscribe to instead of Topics.
	Pattern string
	// Session is the session timeout.
	Session time.Duration
	// Assigned is told all partitions that the member has, whenever they change.
	Assigned func([]Partition)
}

// NoAPI is the error of what a client's API cannot do at all. It reads on from "the client has no".
type NoAPI string

func (n NoAPI) Error() string { return "the client has no " + string(n) }

// Partly says that a feature works but for what the client has no means for. It reads on as NoAPI does.
type Partly string

func (p Partly) Error() string { return "the client has no " + string(p) }

// Difference is a failure that is known to be the client's own. Any other makes the program end with status 1.
type Difference struct{ error }

// Library is a client library. Errors that the broker answered with keep their code, see Code.
type Library interface {
	// Produce writes the records to their partitions and returns the offsets that were acknowledged.
	Produce(ctx context.Context, how ProduceOptions, records []Record) ([]int64, error)
	// Assign reads partitions from offsets on, without a group.
	Assign(ctx context.Context, from map[Partition]int64) (Consumer, error)
	Join(ctx context.Context, how GroupOptions) (Consumer, error)
	// OffsetsAt tells the first offset with this timestamp or a later one, -1 if there is none.
	OffsetsAt(ctx context.Context, topic string, partitions int32, at time.Time) (map[int32]int64, error)
	Committed(ctx context.Context, group, topic string, partitions int32) (map[int32]Committed, error)
	// CommitsMetadata tells whether Consumer.Commit stores the metadata.
	CommitsMetadata() bool
	// ReadsEmptyAsNull tells whether the client gives nil for keys and values that are empty.
	ReadsEmptyAsNull() bool

	CreateTopic(ctx context.Context, topic string, partitions int32, configs map[string]string) error
	// Partitions tells how many partitions the topic has, without creating it.
	Partitions(ctx context.Context, topic string) (int32, error)
	Configs(ctx context.Context, topic string) (map[string]string, error)
	AlterConfig(ctx context.Context, topic, key, value string) error
	AddPartitions(ctx context.Context, topic string, total int32) error
	DeleteTopic(ctx context.Context, topic string) error
	// Code is the protocol's error code in an error, 0 if it holds none.
	Code(err error) int
}

// Consumer reads records.
type Consumer interface {
	// Next waits for at least one record.
	Next(ctx context.Context) ([]Record, error)
	// Commit stores that all records up to these, which came last, are done.
	Commit(ctx context.Context, records []Record, metadata string) error
	Pause(partition Partition) error
	Resume(partition Partition) error
	// Close ends it; a member leaves its group.
	Close() error
}

// hasCode checks that an error is the one expected.
func hasCode(library Library, err error, code int, what string) error {
	switch {
	case err == nil:
		return fmt.Errorf("%s gave no error, not error code %d", what, code)
	case library.Code(err) != code:
		return fmt.Errorf("%s gave error code %d, not %d: %v", what, library.Code(err), code, err)
	}
	return nil
}
