package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"ringmain/clients/go-shared"
)

const wait = 200 * time.Millisecond

// noPause are the methods that kafka-go has no counterpart of.
type noPause struct{}

func (noPause) Pause(shared.Partition) error  { return shared.NoAPI("pausing of partitions") }
func (noPause) Resume(shared.Partition) error { return shared.NoAPI("pausing of partitions") }

// assigned reads partitions without a group, each with a Reader.
type assigned struct {
	noPause
	readers  []*kafka.Reader
	messages chan kafka.Message
	failed   chan error
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

func (l library) Assign(_ context.Context, from map[shared.Partition]int64) (shared.Consumer, error) {
	ctx, cancel := context.WithCancel(context.Background())
	a := &assigned{messages: make(chan kafka.Message), failed: make(chan error, len(from)), cancel: cancel}
	for partition, offset := range from {
		reader, err := l.reader(partition, offset)
		if err != nil {
			return nil, errors.Join(err, a.Close())
		}
		a.readers = append(a.readers, reader)
		a.running.Go(func() {
			if err := forward(ctx, reader, a.messages); err != nil {
				a.failed <- err
			}
		})
	}
	return a, nil
}

func (l library) reader(partition shared.Partition, offset int64) (*kafka.Reader, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers:   []string{l.broker},
		Topic:     partition.Topic,
		Partition: int(partition.ID),
		MaxWait:   wait,
	})
	return reader, reader.SetOffset(offset)
}

// forward hands on messages until the context ends.
func forward(ctx context.Context, reader *kafka.Reader, messages chan<- kafka.Message) error {
	for {
		message, err := reader.FetchMessage(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case messages <- message:
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *assigned) Next(ctx context.Context) ([]shared.Record, error) {
	select {
	case message := <-a.messages:
		return []shared.Record{fromMessage(message)}, nil
	case err := <-a.failed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *assigned) Commit(context.Context, []shared.Record, string) error {
	return errors.New("not in a group")
}

func (a *assigned) Close() error {
	a.cancel()
	a.running.Wait()
	var err error
	for _, reader := range a.readers {
		err = errors.Join(err, reader.Close())
	}
	return err
}

func (l library) Join(_ context.Context, how shared.GroupOptions) (shared.Consumer, error) {
	if how.Pattern != "" {
		return nil, shared.NoAPI("subscription by pattern")
	}
	if how.Assigned != nil {
		return l.joinGenerations(how)
	}
	return &subscribed{reader: kafka.NewReader(kafka.ReaderConfig{
		Brokers:           []string{l.broker},
		GroupID:           how.Group,
		GroupTopics:       how.Topics,
		StartOffset:       kafka.FirstOffset,
		SessionTimeout:    how.Session,
		HeartbeatInterval: wait,
		MaxWait:           wait,
	})}, nil
}

// subscribed is a Reader in a group: the usual way. It does not tell what it was assigned.
type subscribed struct {
	noPause
	reader *kafka.Reader
}

func (s *subscribed) Next(ctx context.Context) ([]shared.Record, error) {
	message, err := s.reader.FetchMessage(ctx)
	return []shared.Record{fromMessage(message)}, err
}

func (s *subscribed) Commit(ctx context.Context, records []shared.Record, _ string) error {
	messages := make([]kafka.Message, len(records))
	for i, record := range records {
		messages[i] = kafka.Message{Topic: record.Topic, Partition: int(record.Partition), Offset: record.Offset}
	}
	return s.reader.CommitMessages(ctx, messages...)
}

func (s *subscribed) Close() error { return s.reader.Close() }

// generations is a member of a group that sees each generation, and starts readers for it.
type generations struct {
	noPause
	library  library
	group    *kafka.ConsumerGroup
	told     func([]shared.Partition)
	messages chan kafka.Message
	failed   chan error
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mutex   sync.Mutex
	current *kafka.Generation
}

func (l library) joinGenerations(how shared.GroupOptions) (shared.Consumer, error) {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                how.Group,
		Brokers:           []string{l.broker},
		Topics:            how.Topics,
		StartOffset:       kafka.FirstOffset,
		SessionTimeout:    how.Session,
		HeartbeatInterval: wait,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &generations{
		library:  l,
		group:    group,
		told:     how.Assigned,
		messages: make(chan kafka.Message),
		failed:   make(chan error, 1),
		cancel:   cancel,
	}
	g.running.Go(func() { g.run(ctx) })
	return g, nil
}

func (g *generations) run(ctx context.Context) {
	for {
		generation, err := g.group.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				g.failed <- err
			}
			return
		}
		g.mutex.Lock()
		g.current = generation
		g.mutex.Unlock()
		var partitions []shared.Partition
		for topic, assignments := range generation.Assignments {
			for _, assignment := range assignments {
				partition := shared.Partition{Topic: topic, ID: int32(assignment.ID)}
				partitions = append(partitions, partition)
				generation.Start(func(ctx context.Context) { g.read(ctx, partition, assignment.Offset) })
			}
		}
		g.told(partitions)
	}
}

// read hands on the messages of a partition while its generation lasts.
func (g *generations) read(ctx context.Context, partition shared.Partition, offset int64) {
	reader, err := g.library.reader(partition, offset)
	if err == nil {
		err = errors.Join(forward(ctx, reader, g.messages), reader.Close())
	}
	if err != nil {
		select {
		case g.failed <- err:
		default:
		}
	}
}

func (g *generations) Next(ctx context.Context) ([]shared.Record, error) {
	select {
	case message := <-g.messages:
		return []shared.Record{fromMessage(message)}, nil
	case err := <-g.failed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *generations) Commit(_ context.Context, records []shared.Record, _ string) error {
	g.mutex.Lock()
	generation := g.current
	g.mutex.Unlock()
	offsets := map[string]map[int]int64{}
	for _, record := range records {
		if offsets[record.Topic] == nil {
			offsets[record.Topic] = map[int]int64{}
		}
		offsets[record.Topic][int(record.Partition)] = record.Offset + 1
	}
	return generation.CommitOffsets(offsets)
}

func (g *generations) Close() error {
	g.cancel()
	err := g.group.Close()
	g.running.Wait()
	return err
}
