// Checks franz-go against a broker: see --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"ringmain/clients/go-shared"
)

var codecs = map[string]kgo.CompressionCodec{
	"":       kgo.NoCompression(),
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

func main() {
	shared.Main(func(broker string) shared.Library {
		client, err := kgo.NewClient(kgo.SeedBrokers(broker))
		if err != nil {
			panic(err)
		}
		return library{broker, kadm.NewClient(client)}
	})
}

type library struct {
	broker string
	admin  *kadm.Client
}

func (l library) Produce(ctx context.Context, how shared.ProduceOptions, records []shared.Record) ([]int64, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(l.broker),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[how.Codec]),
		kgo.RequiredAcks(kgo.AllISRAcks()),
	}
	if !how.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	sent := make([]*kgo.Record, len(records))
	for i, record := range records {
		sent[i] = &kgo.Record{
			Topic:     record.Topic,
			Partition: record.Partition,
			Key:       record.Key,
			Value:     record.Value,
			Timestamp: record.Time,
		}
		for _, header := range record.Headers {
			sent[i].Headers = append(sent[i].Headers, kgo.RecordHeader(header))
		}
	}
	if err := client.ProduceSync(ctx, sent...).FirstErr(); err != nil {
		return nil, err
	}
	offsets := make([]int64, len(sent))
	for i, record := range sent {
		offsets[i] = record.Offset
	}
	return offsets, nil
}

func (l library) Assign(_ context.Context, from map[shared.Partition]int64) (shared.Consumer, error) {
	partitions := map[string]map[int32]kgo.Offset{}
	for partition, offset := range from {
		if partitions[partition.Topic] == nil {
			partitions[partition.Topic] = map[int32]kgo.Offset{}
		}
		partitions[partition.Topic][partition.ID] = kgo.NewOffset().At(offset)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(l.broker), kgo.ConsumePartitions(partitions))
	return &consumer{client: client}, err
}

func (l library) Join(_ context.Context, how shared.GroupOptions) (shared.Consumer, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(l.broker),
		kgo.ConsumerGroup(how.Group),
		kgo.ConsumeTopics(how.Topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(how.Session),
		kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
	}
	if how.Pattern != "" {
		options = append(options, kgo.ConsumeTopics(how.Pattern), kgo.ConsumeRegex(),
			kgo.MetadataMaxAge(500*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond))
	}
	if how.Assigned != nil {
		options = append(options, tell(how.Assigned)...)
	}
	client, err := kgo.NewClient(options...)
	return &consumer{client: client}, err
}

// tell adds up what is assigned and taken away piece by piece, as cooperative rebalancing does.
func tell(assigned func([]shared.Partition)) []kgo.Opt {
	all := map[shared.Partition]bool{}
	change := func(has bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
			for topic, partitions := range topics {
				for _, partition := range partitions {
					all[shared.Partition{Topic: topic, ID: partition}] = has
				}
			}
			maps.DeleteFunc(all, func(_ shared.Partition, has bool) bool { return !has })
			assigned(slices.Collect(maps.Keys(all)))
		}
	}
	return []kgo.Opt{
		kgo.OnPartitionsAssigned(change(true)),
		kgo.OnPartitionsRevoked(change(false)),
		kgo.OnPartitionsLost(change(false)),
	}
}

type consumer struct{ client *kgo.Client }

func (c *consumer) Next(ctx context.Context) ([]shared.Record, error) {
	c.client.AllowRebalance()
	for {
		fetches := c.client.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			return nil, errs[0].Err
		}
		var records []shared.Record
		for _, record := range fetches.Records() {
			read := shared.Record{
				Topic:     record.Topic,
				Partition: record.Partition,
				Offset:    record.Offset,
				Time:      record.Timestamp,
				Key:       record.Key,
				Value:     record.Value,
			}
			for _, header := range record.Headers {
				read.Headers = append(read.Headers, shared.Header(header))
			}
			records = append(records, read)
		}
		if len(records) > 0 {
			return records, nil
		}
		c.client.AllowRebalance()
	}
}

func (c *consumer) Commit(ctx context.Context, records []shared.Record, metadata string) error {
	done := make([]*kgo.Record, len(records))
	for i, record := range records {
		done[i] = &kgo.Record{Topic: record.Topic, Partition: record.Partition, Offset: record.Offset, LeaderEpoch: -1}
	}
	ctx = kgo.PreCommitFnContext(ctx, func(request *kmsg.OffsetCommitRequest) error {
		for _, topic := range request.Topics {
			for i := range topic.Partitions {
				topic.Partitions[i].Metadata = &metadata
			}
		}
		return nil
	})
	return c.client.CommitRecords(ctx, done...)
}

func (c *consumer) Pause(partition shared.Partition) error {
	c.client.PauseFetchPartitions(map[string][]int32{partition.Topic: {partition.ID}})
	return nil
}

func (c *consumer) Resume(partition shared.Partition) error {
	c.client.ResumeFetchPartitions(map[string][]int32{partition.Topic: {partition.ID}})
	return nil
}

func (c *consumer) Close() error {
	c.client.CloseAllowingRebalance()
	return nil
}

func (l library) OffsetsAt(ctx context.Context, topic string, _ int32, at time.Time) (map[int32]int64, error) {
	listed, err := l.admin.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic)
	if err == nil {
		err = listed.Error()
	}
	offsets := map[int32]int64{}
	for id, partition := range listed[topic] {
		offsets[id] = partition.Offset
		// If there is no such record, franz-go asks for the end instead, and gives no timestamp.
		if partition.Timestamp < 0 {
			offsets[id] = -1
		}
	}
	return offsets, err
}

func (l library) Committed(ctx context.Context, group, topic string, _ int32) (map[int32]shared.Committed, error) {
	fetched, err := l.admin.FetchOffsetsForTopics(ctx, group, topic)
	if err == nil {
		err = fetched.Error()
	}
	offsets := map[int32]shared.Committed{}
	for id, offset := range fetched[topic] {
		offsets[id] = shared.Committed{Offset: offset.At, Metadata: offset.Metadata}
	}
	return offsets, err
}

func (l library) CommitsMetadata() bool  { return true }
func (l library) ReadsEmptyAsNull() bool { return false }

func (l library) CreateTopic(ctx context.Context, topic string, partitions int32, configs map[string]string) error {
	values := map[string]*string{}
	for key, value := range configs {
		values[key] = &value
	}
	_, err := l.admin.CreateTopic(ctx, partitions, 1, values, topic)
	return err
}

func (l library) Partitions(ctx context.Context, topic string) (int32, error) {
	topics, err := l.admin.ListTopics(ctx, topic)
	if err == nil {
		err = topics[topic].Err
	}
	return int32(len(topics[topic].Partitions)), err
}

func (l library) Configs(ctx context.Context, topic string) (map[string]string, error) {
	resources, err := l.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	resource, err := resources.On(topic, nil)
	if err == nil {
		err = resource.Err
	}
	for _, config := range resource.Configs {
		configs[config.Key] = config.MaybeValue()
	}
	return configs, err
}

func (l library) AlterConfig(ctx context.Context, topic, key, value string) error {
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}
	answers, err := l.admin.AlterTopicConfigs(ctx, change, topic)
	if err == nil && len(answers) != 1 {
		err = fmt.Errorf("%d answers to one change", len(answers))
	}
	if err != nil {
		return err
	}
	return answers[0].Err
}

func (l library) AddPartitions(ctx context.Context, topic string, total int32) error {
	answers, err := l.admin.UpdatePartitions(ctx, int(total), topic)
	if err != nil {
		return err
	}
	return answers[topic].Err
}

func (l library) DeleteTopic(ctx context.Context, topic string) error {
	_, err := l.admin.DeleteTopic(ctx, topic)
	return err
}

func (l library) Code(err error) int {
	var code *kerr.Error
	if errors.As(err, &code) {
		return int(code.Code)
	}
	return 0
}
