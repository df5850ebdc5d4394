package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"ringmain/clients/go-shared"
)

// assigned reads partitions without a group.
type assigned struct {
	consumer   sarama.Consumer
	partitions map[shared.Partition]sarama.PartitionConsumer
	messages   chan *sarama.ConsumerMessage
	closed     chan struct{}
}

func (l library) Assign(_ context.Context, from map[shared.Partition]int64) (shared.Consumer, error) {
	consumer, err := sarama.NewConsumer(l.brokers, newConfig())
	if err != nil {
		return nil, err
	}
	a := &assigned{
		consumer,
		map[shared.Partition]sarama.PartitionConsumer{},
		make(chan *sarama.ConsumerMessage),
		make(chan struct{}),
	}
	for partition, offset := range from {
		reader, err := consumer.ConsumePartition(partition.Topic, partition.ID, offset)
		if err != nil {
			return nil, errors.Join(err, a.Close())
		}
		a.partitions[partition] = reader
		go func() {
			for message := range reader.Messages() {
				select {
				case a.messages <- message:
				case <-a.closed:
				}
			}
		}()
	}
	return a, nil
}

func (a *assigned) Next(ctx context.Context) ([]shared.Record, error) {
	select {
	case message := <-a.messages:
		return []shared.Record{fromMessage(message)}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *assigned) Commit(context.Context, []shared.Record, string) error {
	return errors.New("not in a group")
}

func (a *assigned) Pause(partition shared.Partition) error {
	a.partitions[partition].Pause()
	return nil
}

func (a *assigned) Resume(partition shared.Partition) error {
	a.partitions[partition].Resume()
	return nil
}

func (a *assigned) Close() error {
	close(a.closed)
	var err error
	for _, reader := range a.partitions {
		err = errors.Join(err, reader.Close())
	}
	return errors.Join(err, a.consumer.Close())
}

// member of a group. Sarama calls it with a session for each generation.
type member struct {
	group   sarama.ConsumerGroup
	told    func([]shared.Partition)
	batches chan []shared.Record
	failed  chan error
	ended   chan struct{}
	cancel  context.CancelFunc

	mutex   sync.Mutex
	session sarama.ConsumerGroupSession
}

func (l library) Join(_ context.Context, how shared.GroupOptions) (shared.Consumer, error) {
	if how.Pattern != "" {
		return nil, shared.NoAPI("subscription by pattern")
	}
	config := newConfig()
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = how.Session
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	group, err := sarama.NewConsumerGroup(l.brokers, how.Group, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{
		group:   group,
		told:    how.Assigned,
		batches: make(chan []shared.Record),
		failed:  make(chan error, 1),
		ended:   make(chan struct{}),
		cancel:  cancel,
	}
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			if err := group.Consume(ctx, how.Topics, m); err != nil && ctx.Err() == nil {
				m.failed <- err
				return
			}
		}
	}()
	return m, nil
}

// Setup, Cleanup and ConsumeClaim are called by sarama.
func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.mutex.Lock()
	m.session = session
	m.mutex.Unlock()
	if m.told == nil {
		return nil
	}
	var partitions []shared.Partition
	for topic, ids := range session.Claims() {
		for _, id := range ids {
			partitions = append(partitions, shared.Partition{Topic: topic, ID: id})
		}
	}
	m.told(partitions)
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		select {
		case m.batches <- batch(message, claim.Messages()):
		case <-session.Context().Done():
			return nil
		}
	}
	return nil
}

// batch takes with a message those that are there already. A commit shares its connection with fetches, and
// may have to wait for one: sarama's users commit for many records at a time.
func batch(message *sarama.ConsumerMessage, more <-chan *sarama.ConsumerMessage) []shared.Record {
	records := []shared.Record{fromMessage(message)}
	for len(records) < 50 {
		select {
		case message, open := <-more:
			if !open {
				return records
			}
			records = append(records, fromMessage(message))
		default:
			return records
		}
	}
	return records
}

func (m *member) Next(ctx context.Context) ([]shared.Record, error) {
	select {
	case records := <-m.batches:
		return records, nil
	case err := <-m.failed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *member) Commit(_ context.Context, records []shared.Record, metadata string) error {
	m.mutex.Lock()
	session := m.session
	m.mutex.Unlock()
	for _, record := range records {
		session.MarkOffset(record.Topic, record.Partition, record.Offset+1, metadata)
	}
	session.Commit()
	return nil
}

func (m *member) Pause(partition shared.Partition) error {
	m.group.Pause(map[string][]int32{partition.Topic: {partition.ID}})
	return nil
}

func (m *member) Resume(partition shared.Partition) error {
	m.group.Resume(map[string][]int32{partition.Topic: {partition.ID}})
	return nil
}

func (m *member) Close() error {
	m.cancel()
	<-m.ended
	return m.group.Close()
}
