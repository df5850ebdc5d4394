import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/** Producing and consuming without a group's changes. */
class Records extends Client {
    static void features() {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            if (codec.equals("zstd") && !Age.ZSTD) none("produce-zstd", "zstd");
            else feature("produce-" + codec, () -> produce(codec));
        }
        feature("headers-keys-nulls", Records::headers);
        feature("idempotent", Records::idempotent);
        feature("assign", Records::assign);
        feature("subscribe", Groups::subscribe);
        feature("regex", Groups::regex);
        feature("seek-time", Records::seekTime);
        feature("pause", Records::pause);
    }

    static void produce(String codec) throws Exception {
        String topic = topic("produce-" + codec, 3);
        List<Row> sent = send(producer("compression.type", codec), topic, 3, 0, 500);
        try (KafkaConsumer<String, String> consumer = consumer()) {
            consumer.assign(partitions(topic, 3));
            sameList("what came", byPartition(sent), byPartition(rows(consumer, 500)));
            atEnd(consumer);
        }
    }

    static byte[] bytes(String text) { return text == null ? null : text.getBytes(StandardCharsets.UTF_8); }

    static String text(byte[] bytes) { return bytes == null ? "null" : "'" + new String(bytes, StandardCharsets.UTF_8) + "'"; }

    static String text(byte[] key, byte[] value, Iterable<Header> headers) {
        StringBuilder text = new StringBuilder(text(key) + "=" + text(value));
        for (Header header : headers) text.append(" ").append(header.key()).append(":").append(text(header.value()));
        return text.toString();
    }

    static ProducerRecord<byte[], byte[]> record(String topic, String key, String value, List<Header> headers) {
        return new ProducerRecord<>(topic, 0, bytes(key), bytes(value), headers);
    }

    static void headers() throws Exception {
        String topic = topic("headers", 1);
        List<Header> some = List.of(new RecordHeader("one", bytes("1")), new RecordHeader("empty", bytes("")),
            new RecordHeader("twice", bytes("a")), new RecordHeader("twice", bytes("b")), new RecordHeader("null", (byte[]) null),
            new RecordHeader("größe", new byte[] {0, -1, 127}));
        List<ProducerRecord<byte[], byte[]>> records = List.of(
            record(topic, "key", "value", some), record(topic, "null value", null, List.of()),
            record(topic, null, "null key", some.subList(0, 1)), record(topic, null, null, List.of()),
            record(topic, "empty value", "", List.of()), record(topic, "", "empty key", List.of()));
        List<String> expected = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(new ByteArraySerializer())) {
            for (ProducerRecord<byte[], byte[]> record : records) {
                expected.add(text(record.key(), record.value(), record.headers()));
                result(producer.send(record));
            }
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(new ByteArrayDeserializer())) {
            consumer.assign(partitions(topic, 1));
            List<String> came = new ArrayList<>();
            poll(consumer, records.size()).forEach(read -> came.add(text(read.key(), read.value(), read.headers())));
            sameList("what came", expected, came);
        }
    }

    static void idempotent() throws Exception {
        String topic = topic("idempotent", 1);
        // Small batches, so that several are under way.
        List<Row> sent = send(producer("enable.idempotence", "true", "batch.size", "1000"), topic, 1, 0, 2000);
        try (KafkaConsumer<String, String> consumer = consumer()) {
            consumer.assign(partitions(topic, 1));
            sameList("what came", sent, rows(consumer, 2000));
            atEnd(consumer);
        }
    }

    static void assign() throws Exception {
        String topic = topic("assign", 2);
        List<Row> sent = byPartition(send(producer(), topic, 2, 0, 100));
        try (KafkaConsumer<String, String> consumer = consumer("max.poll.records", "7")) {
            TopicPartition second = new TopicPartition(topic, 1);
            consumer.assign(List.of(second));
            consumer.seek(second, 20);
            sameList("partition 1 from offset 20", sent.subList(70, 100), rows(consumer, 30));
            consumer.seek(second, 49);
            sameList("the last record", sent.subList(99, 100), rows(consumer, 1));
            consumer.seekToBeginning(List.of(second));
            same("the first record", sent.get(50), rows(consumer, 1).get(0));
        }
    }

    static void seekTime() throws Exception {
        String topic = topic("seek-time", 1);
        long start = System.currentTimeMillis() - 1_000_000;
        try (KafkaProducer<String, String> producer = producer()) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < 300; i++) sent.add(producer.send(new ProducerRecord<>(topic, 0, start + i * 1000L, "key", "value " + i)));
            for (Future<RecordMetadata> one : sent) result(one);
        }
        TopicPartition place = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> consumer = consumer()) {
            consumer.assign(List.of(place));
            for (long[] want : new long[][] {{0, 0}, {start, 0}, {start + 123_000, 123}, {start + 123_001, 124}, {start + 299_000, 299}}) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(place, want[0])).get(place);
                if (found == null) throw new Wrong("nothing is found for " + want[0]);
                same("the offset for a time", want[1], found.offset());
                same("its time", start + want[1] * 1000, found.timestamp());
                consumer.seek(place, found.offset());
                ConsumerRecord<String, String> first = poll(consumer, 1).get(0);
                same("the record there", "value " + want[1], first.value());
                same("its time", start + want[1] * 1000, first.timestamp());
            }
            same("what is found beyond the end", null, consumer.offsetsForTimes(Map.of(place, start + 299_001)).get(place));
            same("the beginning", 0L, consumer.beginningOffsets(List.of(place)).get(place));
            same("the end", 300L, consumer.endOffsets(List.of(place)).get(place));
        }
    }

    static void pause() throws Exception {
        String topic = topic("pause", 2);
        List<Row> sent = byPartition(send(producer(), topic, 2, 0, 200));
        List<TopicPartition> places = partitions(topic, 2);
        try (KafkaConsumer<String, String> consumer = consumer("max.poll.records", "10")) {
            consumer.assign(places);
            consumer.pause(places.subList(0, 1));
            sameList("what came while partition 0 paused", sent.subList(100, 200), rows(consumer, 100));
            same("what comes later", 0, consumer.poll(Duration.ofMillis(300)).count());
            consumer.resume(places.subList(0, 1));
            sameList("what came of partition 0", sent.subList(0, 100), rows(consumer, 100));
            atEnd(consumer);
        }
    }
}
