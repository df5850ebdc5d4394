package shared

import (
	"context"
	"fmt"
	"time"
)

// eventually repeats a check until it holds, at most for the time of patience.
func eventually(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func hasPartitions(ctx context.Context, c *checks, topic string, count int32) error {
	got, err := c.Partitions(ctx, topic)
	if err == nil && got != count {
		err = fmt.Errorf("%s has %d partitions, not %d", topic, got, count)
	}
	return err
}

func hasConfigs(ctx context.Context, c *checks, topic string, expected map[string]string) error {
	configs, err := c.Configs(ctx, topic)
	if err != nil {
		return err
	}
	for key, value := range expected {
		if got, known := configs[key]; got != value {
			return fmt.Errorf("%s of %s is %q (listed: %v), not %q", key, topic, got, known, value)
		}
	}
	return nil
}

func adminCreate(ctx context.Context, c *checks) error {
	topic := c.name("admin-create")
	configs := map[string]string{"max.message.bytes": "123456", "message.timestamp.type": "LogAppendTime"}
	if err := c.CreateTopic(ctx, topic, 3, configs); err != nil {
		return err
	}
	if err := hasPartitions(ctx, c, topic, 3); err != nil {
		return err
	}
	if err := hasConfigs(ctx, c, topic, configs); err != nil {
		return err
	}
	err := c.CreateTopic(ctx, topic, 3, nil)
	if err := hasCode(c, err, topicAlreadyExists, "creating an existing topic"); err != nil {
		return err
	}
	err = c.CreateTopic(ctx, c.name("admin-unknown"), 1, map[string]string{"no.such.config": "1"})
	if err := hasCode(c, err, invalidConfig, "creating with an unknown config"); err != nil {
		return err
	}
	err = c.CreateTopic(ctx, c.name("admin-bad"), 1, map[string]string{"max.message.bytes": "many"})
	return hasCode(c, err, invalidConfig, "creating with a bad value")
}

func adminDescribe(ctx context.Context, c *checks) error {
	topic, err := c.topic(ctx, "admin-describe", 5)
	if err != nil {
		return err
	}
	if err := hasPartitions(ctx, c, topic, 5); err != nil {
		return err
	}
	defaults := map[string]string{
		"max.message.bytes": "1048588", "cleanup.policy": "delete", "message.timestamp.type": "CreateTime",
	}
	if err := hasConfigs(ctx, c, topic, defaults); err != nil {
		return err
	}
	_, err = c.Partitions(ctx, c.name("admin-missing"))
	if err := hasCode(c, err, unknownTopicOrPartition, "describing an unknown topic"); err != nil {
		return err
	}
	_, err = c.Configs(ctx, c.name("admin-missing"))
	return hasCode(c, err, unknownTopicOrPartition, "describing the configs of an unknown topic")
}

func adminAlter(ctx context.Context, c *checks) error {
	topic := c.name("admin-alter")
	kept := map[string]string{"message.timestamp.type": "LogAppendTime"}
	if err := c.CreateTopic(ctx, topic, 2, kept); err != nil {
		return err
	}
	if err := c.AlterConfig(ctx, topic, "max.message.bytes", "234567"); err != nil {
		return err
	}
	expected := map[string]string{"max.message.bytes": "234567", "message.timestamp.type": "LogAppendTime"}
	if err := eventually(ctx, func() error { return hasConfigs(ctx, c, topic, expected) }); err != nil {
		return err
	}
	err := c.AlterConfig(ctx, topic, "no.such.config", "1")
	if err := hasCode(c, err, invalidConfig, "altering an unknown config"); err != nil {
		return err
	}
	err = c.AlterConfig(ctx, c.name("admin-missing"), "max.message.bytes", "1000")
	if err := hasCode(c, err, unknownTopicOrPartition, "altering an unknown topic"); err != nil {
		return err
	}
	if err := c.AddPartitions(ctx, topic, 4); err != nil {
		return err
	}
	if err := eventually(ctx, func() error { return hasPartitions(ctx, c, topic, 4) }); err != nil {
		return err
	}
	records := numbered(topic, 3, 10)
	if err := write(ctx, c, ProduceOptions{}, records, 0); err != nil {
		return err
	}
	if err := readBack(ctx, c, records); err != nil {
		return err
	}
	err = c.AddPartitions(ctx, topic, 3)
	return hasCode(c, err, invalidPartitions, "taking partitions away")
}

func adminDelete(ctx context.Context, c *checks) error {
	topic, err := c.topic(ctx, "admin-delete", 2)
	if err != nil {
		return err
	}
	if err := write(ctx, c, ProduceOptions{}, numbered(topic, 0, 10), 0); err != nil {
		return err
	}
	if err := c.DeleteTopic(ctx, topic); err != nil {
		return err
	}
	err = eventually(ctx, func() error {
		_, err := c.Partitions(ctx, topic)
		return hasCode(c, err, unknownTopicOrPartition, "describing a deleted topic")
	})
	if err != nil {
		return err
	}
	return hasCode(c, c.DeleteTopic(ctx, topic), unknownTopicOrPartition, "deleting an unknown topic")
}
