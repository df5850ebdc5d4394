// Checks sarama against a broker: see --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"ringmain/clients/go-shared"
)

var codecs = map[string]sarama.CompressionCodec{
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

func main() {
	shared.Main(func(broker string) shared.Library {
		admin, err := sarama.NewClusterAdmin([]string{broker}, newConfig())
		if err != nil {
			panic(err)
		}
		return library{[]string{broker}, admin}
	})
}

type library struct {
	brokers []string
	admin   sarama.ClusterAdmin
}

func newConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Metadata.AllowAutoTopicCreation = false
	return config
}

func (l library) Produce(_ context.Context, how shared.ProduceOptions, records []shared.Record) ([]int64, error) {
	config := newConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Compression = codecs[how.Codec]
	config.Producer.Idempotent = how.Idempotent
	config.Net.MaxOpenRequests = 1
	producer, err := sarama.NewSyncProducer(l.brokers, config)
	if err != nil {
		return nil, err
	}
	messages := make([]*sarama.ProducerMessage, len(records))
	for i, record := range records {
		messages[i] = &sarama.ProducerMessage{
			Topic:     record.Topic,
			Partition: record.Partition,
			Timestamp: record.Time,
		}
		if record.Key != nil {
			messages[i].Key = sarama.ByteEncoder(record.Key)
		}
		if record.Value != nil {
			messages[i].Value = sarama.ByteEncoder(record.Value)
		}
		for _, header := range record.Headers {
			messages[i].Headers = append(messages[i].Headers,
				sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
		}
	}
	if err := errors.Join(producer.SendMessages(messages), producer.Close()); err != nil {
		return nil, err
	}
	offsets := make([]int64, len(messages))
	for i, message := range messages {
		offsets[i] = message.Offset
	}
	return offsets, nil
}

func fromMessage(message *sarama.ConsumerMessage) shared.Record {
	record := shared.Record{
		Topic:     message.Topic,
		Partition: message.Partition,
		Offset:    message.Offset,
		Time:      message.Timestamp,
		Key:       message.Key,
		Value:     message.Value,
	}
	for _, header := range message.Headers {
		record.Headers = append(record.Headers, shared.Header{Key: string(header.Key), Value: header.Value})
	}
	return record
}

func (l library) OffsetsAt(_ context.Context, topic string, partitions int32, at time.Time) (map[int32]int64, error) {
	client, err := sarama.NewClient(l.brokers, newConfig())
	if err != nil {
		return nil, err
	}
	offsets := map[int32]int64{}
	for id := range partitions {
		if offsets[id], err = client.GetOffset(topic, id, at.UnixMilli()); err != nil {
			return nil, errors.Join(err, client.Close())
		}
	}
	return offsets, client.Close()
}

func (l library) Committed(_ context.Context, group, topic string, partitions int32) (map[int32]shared.Committed, error) {
	asked := map[string][]int32{}
	for id := range partitions {
		asked[topic] = append(asked[topic], id)
	}
	answer, err := l.admin.ListConsumerGroupOffsets(group, asked)
	if err != nil {
		return nil, err
	}
	offsets := map[int32]shared.Committed{}
	for id, block := range answer.Blocks[topic] {
		if block.Err != sarama.ErrNoError {
			return nil, block.Err
		}
		offsets[id] = shared.Committed{Offset: block.Offset, Metadata: block.Metadata}
	}
	return offsets, nil
}

func (l library) CommitsMetadata() bool  { return true }
func (l library) ReadsEmptyAsNull() bool { return false }

func (l library) CreateTopic(_ context.Context, topic string, partitions int32, configs map[string]string) error {
	values := map[string]*string{}
	for key, value := range configs {
		values[key] = &value
	}
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: values}
	return l.admin.CreateTopic(topic, detail, false)
}

func (l library) Partitions(_ context.Context, topic string) (int32, error) {
	topics, err := l.admin.DescribeTopics([]string{topic})
	if err != nil {
		return 0, err
	}
	if len(topics) != 1 {
		return 0, fmt.Errorf("%d topics were described, not 1", len(topics))
	}
	if topics[0].Err != sarama.ErrNoError {
		return 0, topics[0].Err
	}
	return int32(len(topics[0].Partitions)), nil
}

func (l library) Configs(_ context.Context, topic string) (map[string]string, error) {
	entries, err := l.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	configs := map[string]string{}
	for _, entry := range entries {
		configs[entry.Name] = entry.Value
	}
	return configs, err
}

func (l library) AlterConfig(_ context.Context, topic, key, value string) error {
	entry := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
	changes := map[string]sarama.IncrementalAlterConfigsEntry{key: entry}
	return l.admin.IncrementalAlterConfig(sarama.TopicResource, topic, changes, false)
}

func (l library) AddPartitions(_ context.Context, topic string, total int32) error {
	return l.admin.CreatePartitions(topic, total, nil, false)
}

func (l library) DeleteTopic(_ context.Context, topic string) error {
	return l.admin.DeleteTopic(topic)
}

func (l library) Code(err error) int {
	var code sarama.KError
	if errors.As(err, &code) {
		return int(code)
	}
	return 0
}
