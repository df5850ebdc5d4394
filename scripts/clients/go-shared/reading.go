package shared

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// write produces records and checks that they were given the offsets from first on, in each partition.
func write(ctx context.Context, c *checks, how ProduceOptions, records []Record, first int64) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	offsets, err := c.Produce(ctx, how, records)
	if err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	next := map[Partition]int64{}
	for i, record := range records {
		partition := Partition{record.Topic, record.Partition}
		if expected := first + next[partition]; offsets[i] != expected {
			return fmt.Errorf("record %d of %v was given offset %d, not %d", i, partition, offsets[i], expected)
		}
		next[partition]++
	}
	return nil
}

func produce(codec string) func(context.Context, *checks) error {
	return func(ctx context.Context, c *checks) error {
		topic, err := c.topic(ctx, "produce-"+codec, 3)
		if err != nil {
			return err
		}
		var records []Record
		for partition := range int32(3) {
			records = append(records, numbered(topic, partition, 500)...)
		}
		if err := write(ctx, c, ProduceOptions{Codec: codec}, records, 0); err != nil {
			return err
		}
		return readBack(ctx, c, records)
	}
}

func headersKeysNulls(ctx context.Context, c *checks) error {
	topic, err := c.topic(ctx, "headers", 1)
	if err != nil {
		return err
	}
	headers := []Header{{"twice", []byte("one")}, {"empty", []byte{}}, {"twice", []byte("two")}, {"bytes", []byte{0, 0xff}}}
	records := []Record{
		{Key: []byte("key"), Value: []byte("value"), Headers: headers},
		{Key: []byte("no value"), Value: nil, Headers: headers[:1]},
		{Key: nil, Value: []byte("no key")},
		{Key: []byte("empty value"), Value: []byte{}},
		{Key: []byte{}, Value: []byte("empty key")},
		{Key: []byte{0, 0xff, 0x80}, Value: []byte{0xc0, 0, '\n'}},
	}
	for i := range records {
		records[i].Topic = topic
	}
	if err := write(ctx, c, ProduceOptions{}, records, 0); err != nil {
		return err
	}
	exactly := readBack(ctx, c, records)
	if exactly == nil || !c.ReadsEmptyAsNull() {
		return exactly
	}
	for i, record := range records {
		if len(record.Key) == 0 {
			records[i].Key = nil
		}
		if len(record.Value) == 0 {
			records[i].Value = nil
		}
	}
	if err := readBack(ctx, c, records); err != nil {
		return err
	}
	return Difference{exactly}
}

func idempotent(ctx context.Context, c *checks) error {
	topic, err := c.topic(ctx, "idempotent", 1)
	if err != nil {
		return err
	}
	records := numbered(topic, 0, 2000)
	if err := write(ctx, c, ProduceOptions{Idempotent: true}, records, 0); err != nil {
		return err
	}
	return readBack(ctx, c, records)
}

func assign(ctx context.Context, c *checks) error {
	topic, err := c.topic(ctx, "assign", 2)
	if err != nil {
		return err
	}
	records := append(numbered(topic, 0, 50), numbered(topic, 1, 50)...)
	if err := write(ctx, c, ProduceOptions{}, records, 0); err != nil {
		return err
	}
	consumer, err := c.Assign(ctx, map[Partition]int64{{topic, 1}: 17})
	if err != nil {
		return err
	}
	read, err := readCount(ctx, consumer, 50-17)
	if err != nil {
		return errors.Join(err, consumer.Close())
	}
	return errors.Join(sameRecords(records[50+17:], read, 17), consumer.Close())
}

func subscribe(ctx context.Context, c *checks) error {
	var topics []string
	var records []Record
	for _, of := range []string{"subscribe-a", "subscribe-b"} {
		topic, err := c.topic(ctx, of, 2)
		if err != nil {
			return err
		}
		topics = append(topics, topic)
		records = append(records, numbered(topic, 0, 100)...)
		records = append(records, numbered(topic, 1, 100)...)
	}
	if err := write(ctx, c, ProduceOptions{}, records, 0); err != nil {
		return err
	}
	consumer, err := c.Join(ctx, GroupOptions{Group: c.name("subscribe"), Topics: topics, Session: patience})
	if err != nil {
		return err
	}
	read, err := readCount(ctx, consumer, len(records))
	if err != nil {
		return errors.Join(err, consumer.Close())
	}
	return errors.Join(sameRecords(records, read, 0), consumer.Close())
}

func regex(ctx context.Context, c *checks) (err error) {
	consumer, err := c.Join(ctx, GroupOptions{
		Group: c.name("regex"), Pattern: "^regex-.*-" + c.run + "$", Session: patience,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, consumer.Close()) }()
	// The first topic and then a later one are found while it runs, one that does not match is not.
	for _, of := range []string{"other-a", "regex-a", "regex-b"} {
		topic, err := c.topic(ctx, of, 2)
		if err != nil {
			return err
		}
		records := append(numbered(topic, 0, 20), numbered(topic, 1, 20)...)
		if err := write(ctx, c, ProduceOptions{}, records, 0); err != nil {
			return err
		}
		if of == "other-a" {
			continue
		}
		read, err := readCount(ctx, consumer, len(records))
		if err != nil {
			return err
		}
		if err := sameRecords(records, read, 0); err != nil {
			return err
		}
	}
	return nil
}

func seekTime(ctx context.Context, c *checks) error {
	topic, err := c.topic(ctx, "seek-time", 1)
	if err != nil {
		return err
	}
	records := numbered(topic, 0, 100)
	first := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i := range records {
		records[i].Time = first.Add(time.Duration(i) * time.Second)
	}
	if err := write(ctx, c, ProduceOptions{}, records, 0); err != nil {
		return err
	}
	for _, ask := range []struct {
		at     time.Duration
		offset int64
	}{{-time.Minute, 0}, {41 * time.Second, 41}, {41500 * time.Millisecond, 42}, {200 * time.Second, -1}} {
		offsets, err := c.OffsetsAt(ctx, topic, 1, first.Add(ask.at))
		if err != nil {
			return err
		}
		if offsets[0] != ask.offset {
			return fmt.Errorf("the offset of the first record and %v is %d, not %d", ask.at, offsets[0], ask.offset)
		}
		if ask.offset < 0 {
			continue
		}
		consumer, err := c.Assign(ctx, map[Partition]int64{{topic, 0}: offsets[0]})
		if err != nil {
			return err
		}
		read, err := readCount(ctx, consumer, 100-int(ask.offset))
		if err != nil {
			return errors.Join(err, consumer.Close())
		}
		if err := errors.Join(sameRecords(records[ask.offset:], read, ask.offset), consumer.Close()); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, c *checks) (err error) {
	topic, err := c.topic(ctx, "pause", 2)
	if err != nil {
		return err
	}
	paused, open := Partition{topic, 0}, Partition{topic, 1}
	consumer, err := c.Assign(ctx, map[Partition]int64{paused: 0, open: 0})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, consumer.Close()) }()
	if err := consumer.Pause(paused); err != nil {
		return err
	}
	// Twice: by the time the second part of one has come, the first part of the other would have.
	for part := range 2 {
		records := append(numbered(topic, paused.ID, 50), numbered(topic, open.ID, 50)...)
		if err := write(ctx, c, ProduceOptions{}, records, int64(50*part)); err != nil {
			return err
		}
		read, err := readCount(ctx, consumer, 50)
		if err != nil {
			return err
		}
		if err := sameRecords(records[50:], read, int64(50*part)); err != nil {
			return fmt.Errorf("while paused: %w", err)
		}
	}
	if err := consumer.Resume(paused); err != nil {
		return err
	}
	read, err := readCount(ctx, consumer, 100)
	if err != nil {
		return fmt.Errorf("resumed: %w", err)
	}
	rest := slices.Concat(numbered(topic, paused.ID, 50), numbered(topic, paused.ID, 50))
	if err := sameRecords(rest, read, 0); err != nil {
		return fmt.Errorf("resumed: %w", err)
	}
	return nil
}

func commitResume(ctx context.Context, c *checks) error {
	const done, count = 40, 100
	topic, err := c.topic(ctx, "commit", 1)
	if err != nil {
		return err
	}
	records := numbered(topic, 0, count)
	if err := write(ctx, c, ProduceOptions{}, records, 0); err != nil {
		return err
	}
	how := GroupOptions{Group: c.name("commit"), Topics: []string{topic}, Session: patience}
	consumer, err := c.Join(ctx, how)
	if err != nil {
		return err
	}
	read, err := readCount(ctx, consumer, done)
	if err == nil {
		err = consumer.Commit(ctx, read[:done], "checkpoint 40")
	}
	if err := errors.Join(err, consumer.Close()); err != nil {
		return err
	}
	committed, err := c.Committed(ctx, how.Group, topic, 1)
	if err != nil {
		return err
	}
	expected := Committed{Offset: done}
	if c.CommitsMetadata() {
		expected.Metadata = "checkpoint 40"
	}
	if committed[0] != expected {
		return fmt.Errorf("committed is %+v, not %+v", committed[0], expected)
	}
	if consumer, err = c.Join(ctx, how); err != nil {
		return err
	}
	if read, err = readCount(ctx, consumer, count-done); err == nil {
		err = sameRecords(records[done:], read, done)
	}
	if err := errors.Join(err, consumer.Close()); err != nil {
		return err
	}
	if !c.CommitsMetadata() {
		return Partly("metadata in what its consumers commit")
	}
	return nil
}
