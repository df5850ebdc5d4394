package shared

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `Checks a Kafka client against a broker.

Usage:
  %[1]s features BROKER             run all checks, a line for each
  %[1]s member BROKER TOPIC GROUP   read as a member of a group until SIGTERM
Example: %[1]s features 127.0.0.1:9092
`

// A wait for one thing that should happen is over after this.
const patience = 30 * time.Second

type feature struct {
	name  string
	check func(context.Context, *checks) error
}

var features = []feature{
	{"produce-none", produce("none")},
	{"produce-gzip", produce("gzip")},
	{"produce-snappy", produce("snappy")},
	{"produce-lz4", produce("lz4")},
	{"produce-zstd", produce("zstd")},
	{"headers-keys-nulls", headersKeysNulls},
	{"idempotent", idempotent},
	{"assign", assign},
	{"subscribe", subscribe},
	{"regex", regex},
	{"seek-time", seekTime},
	{"pause", pause},
	{"rebalance-join-leave", rebalanceJoinLeave},
	{"rebalance-crash", rebalanceCrash},
	{"commit-resume", commitResume},
	{"admin-create", adminCreate},
	{"admin-describe", adminDescribe},
	{"admin-alter", adminAlter},
	{"admin-delete", adminDelete},
}

// checks is what they share.
type checks struct {
	Library
	broker string
	run    string // in the names of topics and groups, so that a broker can be used again
}

func (c *checks) name(of string) string { return of + "-" + c.run }

// topic creates one.
func (c *checks) topic(ctx context.Context, of string, partitions int32) (string, error) {
	name := c.name(of)
	return name, c.CreateTopic(ctx, name, partitions, nil)
}

// Main runs a client's program.
func Main(open func(broker string) Library) {
	arguments := os.Args[1:]
	switch {
	case len(arguments) == 2 && arguments[0] == "features":
		run := fmt.Sprintf("%x", time.Now().UnixMilli())
		if !runFeatures(&checks{open(arguments[1]), arguments[1], run}) {
			os.Exit(1)
		}
	case len(arguments) == 4 && arguments[0] == "member":
		if err := member(open(arguments[1]), arguments[2], arguments[3]); err != nil {
			fmt.Fprintln(os.Stderr, "member:", err)
			os.Exit(1)
		}
	case len(arguments) == 1 && (arguments[0] == "--help" || arguments[0] == "-h"):
		fmt.Printf(usage, os.Args[0])
	default:
		fmt.Fprintf(os.Stderr, usage, os.Args[0])
		os.Exit(2)
	}
}

func runFeatures(c *checks) bool {
	good := true
	for _, feature := range features {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		err := feature.check(ctx, c)
		cancel()
		var none NoAPI
		var partly Partly
		var difference Difference
		switch {
		case err == nil:
			fmt.Printf("ok %s\n", feature.name)
		case errors.As(err, &partly):
			fmt.Printf("ok %s: %v\n", feature.name, partly)
		case errors.As(err, &none):
			fmt.Printf("none %s: %v\n", feature.name, none)
		default:
			good = good && errors.As(err, &difference)
			fmt.Printf("FAILED %s: %s\n", feature.name, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	return good
}

// member prints what it is given and reads, and commits after printing. Every line is one write.
func member(library Library, topic, group string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	consumer, err := library.Join(ctx, GroupOptions{
		Group:   group,
		Topics:  []string{topic},
		Session: 6 * time.Second,
		Assigned: func(partitions []Partition) {
			fmt.Printf("assigned %s\n", joined(partitions))
		},
	})
	if err != nil {
		return err
	}
	for {
		records, err := consumer.Next(ctx)
		if ctx.Err() != nil {
			return consumer.Close()
		}
		if err != nil {
			return errors.Join(err, consumer.Close())
		}
		for _, record := range records {
			fmt.Printf("%d %d %s\n", record.Partition, record.Offset, record.Value)
		}
		// A rebalance may have come between: the records are read again by whoever has them now.
		if err := consumer.Commit(context.WithoutCancel(ctx), records, ""); err != nil {
			fmt.Fprintln(os.Stderr, "member: commit:", err)
		}
	}
}
