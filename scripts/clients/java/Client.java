// Kafka's own Java client through the features of the client matrix. One source for the current client and for an old
// one; what they do differently is in Age.java.
//
// Usage: Client features BROKER
//        Client member BROKER TOPIC GROUP

import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

public class Client {
    static final Duration PATIENCE = Duration.ofSeconds(30);
    /** So that a second run against one broker finds none of the topics and groups of the first. */
    static final String RUN = Long.toString(System.currentTimeMillis(), 36);
    static String broker;
    static AdminClient admin;

    public static void main(String[] args) throws Exception {
        if (args.length == 4 && args[0].equals("member")) {
            Member.run(args[1], args[2], args[3]);
            return;
        }
        if (args.length != 2 || !args[0].equals("features")) {
            System.err.println("usage: Client features BROKER | Client member BROKER TOPIC GROUP");
            System.exit(2);
        }
        broker = args[1];
        admin = AdminClient.create(Map.of("bootstrap.servers", broker, "request.timeout.ms", "20000"));
        Records.features();
        Groups.features();
        Administration.features();
        System.exit(0);
    }

    // ---- what a feature is made of

    interface Work { void run() throws Exception; }

    interface Asked { Object get() throws Exception; }

    static class Wrong extends Exception {
        private static final long serialVersionUID = 1;

        Wrong(String problem) { super(problem); }
    }

    /** Runs a feature and says how it went. */
    static void feature(String name, Work work) {
        try {
            work.run();
            System.out.println("ok " + name);
        } catch (Throwable problem) {
            String text = problem instanceof Wrong ? problem.getMessage() : problem.toString();
            System.out.println("FAILED " + name + ": " + text.replaceAll("\\s+", " "));
        }
    }

    static void none(String name, String lacks) { System.out.println("none " + name + ": the client has no " + lacks); }

    static void same(String what, Object expected, Object seen) throws Wrong {
        if (!Objects.equals(expected, seen)) throw new Wrong(what + " is " + cut(seen) + ", expected " + cut(expected));
    }

    /** Two lists that must be equal; tells where they are not. */
    static void sameList(String what, List<?> expected, List<?> seen) throws Wrong {
        for (int i = 0; i < Math.min(expected.size(), seen.size()); i++) {
            same(what + " [" + i + "]", expected.get(i), seen.get(i));
        }
        same("the length of " + what, expected.size(), seen.size());
    }

    static String cut(Object value) {
        String text = String.valueOf(value);
        return text.length() <= 300 ? text : text.substring(0, 300) + "...";
    }

    /** The error must be of this class; admin calls and sends wrap theirs. */
    static void fails(Class<?> with, Asked asked) throws Exception {
        Object got;
        try {
            got = asked.get();
        } catch (ExecutionException failed) {
            same("the error", with, failed.getCause().getClass());
            return;
        }
        throw new Wrong("no " + with.getSimpleName() + " but " + cut(got));
    }

    static void until(String what, BooleanSupplier holds) throws Exception {
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (!holds.getAsBoolean()) {
            if (System.nanoTime() > end) throw new Wrong("not within " + PATIENCE.toSeconds() + " s: " + what);
            Thread.sleep(10);
        }
    }

    static <T> T result(Future<T> future) throws Exception { return future.get(PATIENCE.toSeconds(), TimeUnit.SECONDS); }

    // ---- topics, producers, consumers

    static String fresh(String name) { return name + "-" + RUN; }

    /** Makes a topic. */
    static String topic(String name, int partitions) throws Exception {
        String topic = fresh(name);
        result(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all());
        return topic;
    }

    static List<TopicPartition> partitions(String topic, int count) {
        List<TopicPartition> all = new ArrayList<>();
        for (int i = 0; i < count; i++) all.add(new TopicPartition(topic, i));
        return all;
    }

    static <T> KafkaProducer<T, T> producer(Serializer<T> serializer, String... more) {
        Map<String, Object> settings = settings("acks", "all", "linger.ms", "5");
        settings.putAll(settings(more));
        return new KafkaProducer<>(settings, serializer, serializer);
    }

    static KafkaProducer<String, String> producer(String... more) { return producer(new StringSerializer(), more); }

    static <T> KafkaConsumer<T, T> consumer(Deserializer<T> deserializer, String... more) {
        Map<String, Object> settings = settings("auto.offset.reset", "earliest", "enable.auto.commit", "false");
        settings.putAll(settings(more));
        return new KafkaConsumer<>(settings, deserializer, deserializer);
    }

    static KafkaConsumer<String, String> consumer(String... more) { return consumer(new StringDeserializer(), more); }

    static Map<String, Object> settings(String... pairs) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", broker, "request.timeout.ms", "20000"));
        for (int i = 0; i < pairs.length; i += 2) settings.put(pairs[i], pairs[i + 1]);
        return settings;
    }

    /** A record as it is compared. */
    record Row(String topic, int partition, long offset, String key, String value) {
        static Row of(ConsumerRecord<String, String> read) {
            return new Row(read.topic(), read.partition(), read.offset(), read.key(), read.value());
        }
    }

    /** Sends records to the partitions in turn and tells where they must be. The producer is closed. */
    static List<Row> send(KafkaProducer<String, String> producer, String topic, int partitions, int from, int to) throws Exception {
        List<Row> rows = new ArrayList<>();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (producer) {
            for (int i = from; i < to; i++) {
                Row row = new Row(topic, i % partitions, i / partitions, "key " + i % 7, "value " + i + " " + "text ".repeat(20));
                rows.add(row);
                sent.add(producer.send(new ProducerRecord<>(topic, row.partition, row.key, row.value)));
            }
            for (int i = 0; i < sent.size(); i++) same("the offset told", rows.get(i).offset, result(sent.get(i)).offset());
        }
        return rows;
    }

    /** Polls until so many records came. */
    static <T> List<ConsumerRecord<T, T>> poll(KafkaConsumer<T, T> consumer, int count) throws Exception {
        List<ConsumerRecord<T, T>> came = new ArrayList<>();
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (came.size() < count) {
            if (System.nanoTime() > end) throw new Wrong("only " + came.size() + " of " + count + " records came");
            consumer.poll(Duration.ofMillis(100)).forEach(came::add);
        }
        return came;
    }

    static List<Row> rows(KafkaConsumer<String, String> consumer, int count) throws Exception {
        return new ArrayList<>(poll(consumer, count).stream().map(Row::of).toList());
    }

    /** By topic and partition, the order within a partition as it came. */
    static List<Row> byPartition(List<Row> rows) {
        List<Row> sorted = new ArrayList<>(rows);
        sorted.sort(Comparator.comparing(Row::topic).thenComparing(Row::partition));
        return sorted;
    }

    /** Nothing may be left behind what was read. */
    static void atEnd(KafkaConsumer<?, ?> consumer) throws Exception {
        Map<TopicPartition, Long> ends = consumer.endOffsets(consumer.assignment());
        for (TopicPartition place : ends.keySet()) same("the position in " + place, ends.get(place), consumer.position(place));
    }
}
