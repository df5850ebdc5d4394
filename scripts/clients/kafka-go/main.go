// Checks segmentio's kafka-go against a broker: see --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"ringmain/clients/go-shared"
)

var codecs = map[string]kafka.Compression{
	"gzip":   kafka.Gzip,
	"snappy": kafka.Snappy,
	"lz4":    kafka.Lz4,
	"zstd":   kafka.Zstd,
}

func main() {
	shared.Main(func(broker string) shared.Library {
		return library{broker, &kafka.Client{Addr: kafka.TCP(broker), Timeout: 10 * time.Second}}
	})
}

type library struct {
	broker string
	client *kafka.Client
}

// place is where a message goes, and its number among all that are written together.
type place struct{ partition, number int }

func (l library) Produce(ctx context.Context, how shared.ProduceOptions, records []shared.Record) ([]int64, error) {
	if how.Idempotent {
		return nil, shared.NoAPI("idempotent producer")
	}
	offsets := make([]int64, len(records))
	var mutex sync.Mutex
	writer := &kafka.Writer{
		Addr:         kafka.TCP(l.broker),
		RequiredAcks: kafka.RequireAll,
		Compression:  codecs[how.Codec],
		BatchTimeout: 10 * time.Millisecond,
		// The partition of a message cannot be set, but the balancer sees the message.
		Balancer: kafka.BalancerFunc(func(message kafka.Message, _ ...int) int {
			return message.WriterData.(place).partition
		}),
		Completion: func(messages []kafka.Message, err error) {
			mutex.Lock()
			defer mutex.Unlock()
			for _, message := range messages {
				offsets[message.WriterData.(place).number] = message.Offset
			}
		},
	}
	messages := make([]kafka.Message, len(records))
	for i, record := range records {
		messages[i] = kafka.Message{
			Topic:      record.Topic,
			Key:        record.Key,
			Value:      record.Value,
			Time:       record.Time,
			WriterData: place{int(record.Partition), i},
		}
		for _, header := range record.Headers {
			messages[i].Headers = append(messages[i].Headers, kafka.Header(header))
		}
	}
	err := writer.WriteMessages(ctx, messages...)
	return offsets, errors.Join(err, writer.Close())
}

func fromMessage(message kafka.Message) shared.Record {
	record := shared.Record{
		Topic:     message.Topic,
		Partition: int32(message.Partition),
		Offset:    message.Offset,
		Time:      message.Time,
		Key:       message.Key,
		Value:     message.Value,
	}
	for _, header := range message.Headers {
		record.Headers = append(record.Headers, shared.Header(header))
	}
	return record
}

func (l library) OffsetsAt(ctx context.Context, topic string, partitions int32, at time.Time) (map[int32]int64, error) {
	var asked []kafka.OffsetRequest
	for id := range partitions {
		asked = append(asked, kafka.TimeOffsetOf(int(id), at))
	}
	answer, err := l.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: asked}})
	if err != nil {
		return nil, err
	}
	offsets := map[int32]int64{}
	for _, partition := range answer.Topics[topic] {
		if partition.Error != nil {
			return nil, partition.Error
		}
		if len(partition.Offsets) != 1 {
			return nil, fmt.Errorf("%d offsets for one time", len(partition.Offsets))
		}
		for offset := range partition.Offsets {
			offsets[int32(partition.Partition)] = offset
		}
	}
	return offsets, nil
}

func (l library) Committed(ctx context.Context, group, topic string, partitions int32) (map[int32]shared.Committed, error) {
	var asked []int
	for id := range partitions {
		asked = append(asked, int(id))
	}
	answer, err := l.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: asked}})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		return nil, err
	}
	offsets := map[int32]shared.Committed{}
	for _, partition := range answer.Topics[topic] {
		if partition.Error != nil {
			return nil, partition.Error
		}
		offsets[int32(partition.Partition)] = shared.Committed{Offset: partition.CommittedOffset, Metadata: partition.Metadata}
	}
	return offsets, nil
}

// CommitsMetadata: neither a Reader nor a Generation takes any.
func (l library) CommitsMetadata() bool { return false }

func (l library) ReadsEmptyAsNull() bool { return true }

func (l library) CreateTopic(ctx context.Context, topic string, partitions int32, configs map[string]string) error {
	config := kafka.TopicConfig{Topic: topic, NumPartitions: int(partitions), ReplicationFactor: 1}
	for key, value := range configs {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: value})
	}
	answer, err := l.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (l library) Partitions(ctx context.Context, topic string) (int32, error) {
	answer, err := l.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, err
	}
	if len(answer.Topics) != 1 {
		return 0, fmt.Errorf("%d topics were described, not 1", len(answer.Topics))
	}
	return int32(len(answer.Topics[0].Partitions)), answer.Topics[0].Error
}

func (l library) Configs(ctx context.Context, topic string) (map[string]string, error) {
	asked := []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}}
	answer, err := l.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: asked})
	if err != nil {
		return nil, err
	}
	if len(answer.Resources) != 1 {
		return nil, fmt.Errorf("%d resources were described, not 1", len(answer.Resources))
	}
	configs := map[string]string{}
	for _, entry := range answer.Resources[0].ConfigEntries {
		configs[entry.ConfigName] = entry.ConfigValue
	}
	return configs, answer.Resources[0].Error
}

func (l library) AlterConfig(ctx context.Context, topic, key, value string) error {
	change := kafka.IncrementalAlterConfigsRequestConfig{Name: key, Value: value, ConfigOperation: kafka.ConfigOperationSet}
	resource := kafka.IncrementalAlterConfigsRequestResource{
		ResourceType: kafka.ResourceTypeTopic,
		ResourceName: topic,
		Configs:      []kafka.IncrementalAlterConfigsRequestConfig{change},
	}
	answer, err := l.client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{resource},
	})
	if err != nil {
		return err
	}
	if len(answer.Resources) != 1 {
		return fmt.Errorf("%d answers to one change", len(answer.Resources))
	}
	return answer.Resources[0].Error
}

func (l library) AddPartitions(ctx context.Context, topic string, total int32) error {
	answer, err := l.client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: total}},
	})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (l library) DeleteTopic(ctx context.Context, topic string) error {
	answer, err := l.client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (l library) Code(err error) int {
	var code kafka.Error
	if errors.As(err, &code) {
		return int(code)
	}
	return 0
}
