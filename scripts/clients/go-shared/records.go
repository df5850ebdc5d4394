package shared

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Of many problems, these are told.
const problemsShown = 6

// numbered makes records 0 to count-1 of a partition, each with a key and a value of its own.
func numbered(topic string, partition int32, count int) []Record {
	records := make([]Record, count)
	for i := range records {
		records[i] = Record{
			Topic:     topic,
			Partition: partition,
			Key:       fmt.Appendf(nil, "key-%d-%d", partition, i),
			Value:     fmt.Appendf(nil, "value %d of partition %d %s", i, partition, strings.Repeat("abc ", i%50)),
		}
	}
	return records
}

// readUntil reads until enough says so, within the time of patience.
func readUntil(ctx context.Context, consumer Consumer, enough func(all []Record) bool) ([]Record, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all []Record
	for !enough(all) {
		records, err := consumer.Next(ctx)
		if err != nil {
			return all, fmt.Errorf("after %d records: %w", len(all), err)
		}
		all = append(all, records...)
	}
	return all, nil
}

// readCount reads this many records.
func readCount(ctx context.Context, consumer Consumer, count int) ([]Record, error) {
	return readUntil(ctx, consumer, func(all []Record) bool { return len(all) >= count })
}

// readBack reads partitions from their beginning and compares with what was written to them.
func readBack(ctx context.Context, library Library, written []Record) error {
	from := map[Partition]int64{}
	for _, record := range written {
		from[Partition{record.Topic, record.Partition}] = 0
	}
	consumer, err := library.Assign(ctx, from)
	if err != nil {
		return err
	}
	read, err := readCount(ctx, consumer, len(written))
	if closing := consumer.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return sameRecords(written, read, 0)
}

// sameRecords compares records by partition: content, order, and offsets that count up from first.
func sameRecords(expected, got []Record, first int64) error {
	want, have := byPartition(expected), byPartition(got)
	for partition, records := range have {
		if len(records) > len(want[partition]) {
			return fmt.Errorf("%v gave %d records, not %d", partition, len(records), len(want[partition]))
		}
	}
	for partition, records := range want {
		if len(have[partition]) != len(records) {
			return fmt.Errorf("%v gave %d records, not %d", partition, len(have[partition]), len(records))
		}
		var problems []error
		for i, record := range records {
			read := have[partition][i]
			if read.Offset != first+int64(i) {
				return fmt.Errorf("record %d of %v has offset %d, not %d", i, partition, read.Offset, first+int64(i))
			}
			if err := sameContent(record, read); err != nil {
				problems = append(problems, fmt.Errorf("record %d of %v: %w", i, partition, err))
			}
		}
		if len(problems) > 0 {
			return errors.Join(problems[:min(len(problems), problemsShown)]...)
		}
	}
	return nil
}

func sameContent(expected, got Record) error {
	switch {
	case !sameBytes(expected.Key, got.Key):
		return fmt.Errorf("the key is %s, not %s", shown(got.Key), shown(expected.Key))
	case !sameBytes(expected.Value, got.Value):
		return fmt.Errorf("the value is %s, not %s", shown(got.Value), shown(expected.Value))
	case !slices.EqualFunc(expected.Headers, got.Headers, func(a, b Header) bool {
		return a.Key == b.Key && bytes.Equal(a.Value, b.Value)
	}):
		return fmt.Errorf("the headers are %q, not %q", got.Headers, expected.Headers)
	case !expected.Time.IsZero() && !expected.Time.Equal(got.Time):
		return fmt.Errorf("the timestamp is %v, not %v", got.Time, expected.Time)
	}
	return nil
}

// sameBytes tells null from empty.
func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func shown(data []byte) string {
	if data == nil {
		return "null"
	}
	return strconv.Quote(string(data))
}

func byPartition(records []Record) map[Partition][]Record {
	all := map[Partition][]Record{}
	for _, record := range records {
		partition := Partition{record.Topic, record.Partition}
		all[partition] = append(all[partition], record)
	}
	return all
}

// joined shows the numbers of partitions in order.
func joined(partitions []Partition) string {
	sorted := slices.SortedFunc(slices.Values(partitions), func(a, b Partition) int { return cmp.Compare(a.ID, b.ID) })
	text := make([]string, len(sorted))
	for i, partition := range sorted {
		text[i] = strconv.Itoa(int(partition.ID))
	}
	return strings.Join(text, ",")
}
