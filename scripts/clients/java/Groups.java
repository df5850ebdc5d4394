import java.util.*;
import java.util.concurrent.Future;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;

/** Groups: subscriptions, members that come, leave and crash, commits. */
class Groups extends Client {
    static void features() {
        feature("rebalance-join-leave", Groups::joinLeave);
        feature("rebalance-crash", Groups::crash);
        feature("commit-resume", Groups::commitResume);
    }

    static void subscribe() throws Exception {
        String first = topic("subscribe-a", 2);
        String second = topic("subscribe-b", 2);
        List<Row> sent = send(producer(), first, 2, 0, 100);
        sent.addAll(send(producer(), second, 2, 0, 100));
        try (KafkaConsumer<String, String> consumer = consumer("group.id", fresh("subscribe"))) {
            consumer.subscribe(List.of(first, second));
            sameList("what came", byPartition(sent), byPartition(rows(consumer, 200)));
            atEnd(consumer);
        }
    }

    static void regex() throws Exception {
        List<Row> sent = send(producer(), topic("regex-first", 2), 2, 0, 50);
        send(producer(), topic("other-regex", 1), 1, 0, 10);
        try (KafkaConsumer<String, String> consumer = consumer("group.id", fresh("regex"), "metadata.max.age.ms", "500")) {
            consumer.subscribe(Pattern.compile("regex-.*-" + RUN), new ConsumerRebalanceListener() {
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) { }

                public void onPartitionsAssigned(Collection<TopicPartition> partitions) { }
            });
            sameList("what came", byPartition(sent), byPartition(rows(consumer, 50)));
            List<Row> later = send(producer(), topic("regex-made-later", 1), 1, 0, 20);
            // Nothing was committed: the rebalance begins the first topic anew.
            sent.addAll(later);
            Set<Row> came = new HashSet<>();
            long end = System.nanoTime() + PATIENCE.toNanos();
            while (!came.containsAll(later)) {
                if (System.nanoTime() > end) throw new Wrong("the topic made later is not found");
                came.addAll(rows(consumer, 1));
            }
            came.removeAll(sent);
            same("what came of other topics", Set.of(), came);
        }
    }

    /** Sends keyed records, whose values are KEY.NUMBER, and waits for them. The producer chooses the partition by key. */
    static List<String> sendKeyed(String topic, int from, int to) throws Exception {
        List<String> values = new ArrayList<>();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<String, String> producer = producer()) {
            for (int i = from; i < to; i++) {
                String key = "key" + i % 20;
                values.add(key + "." + i);
                sent.add(producer.send(new ProducerRecord<>(topic, key, key + "." + i)));
            }
            for (Future<RecordMetadata> one : sent) result(one);
        }
        return values;
    }

    static void waitFor(String what, Member first, Member second, Set<String> expected) throws Exception {
        until(what, () -> values(first, second).containsAll(expected));
    }

    static Set<String> values(Member... members) {
        Set<String> seen = new HashSet<>();
        for (Member member : members) member.read.forEach(row -> seen.add(row.value()));
        return seen;
    }

    /** Of each key, a member must see later records later. */
    static void keyOrder(Member member) throws Exception {
        Map<String, Integer> last = new HashMap<>();
        for (Row row : member.read) {
            String[] parts = row.value().split("\\.");
            int number = Integer.parseInt(parts[1]);
            Integer before = last.put(parts[0], number);
            if (before != null && before >= number) throw new Wrong(parts[0] + ": " + number + " comes after " + before);
        }
    }

    static void haveHalf(Member first, Member second) throws Exception {
        until("two members have two partitions each", () -> first.assigned.size() == 2 && second.assigned.size() == 2
            && Collections.disjoint(first.assigned, second.assigned));
    }

    static void joinLeave() throws Exception {
        String topic = topic("join-leave", 4);
        String group = fresh("join-leave");
        Set<String> sent = new HashSet<>(sendKeyed(topic, 0, 250));
        Member first = new Member(topic, group);
        until("the first member has all partitions", () -> first.assigned.size() == 4);
        Member second = new Member(topic, group);
        sent.addAll(sendKeyed(topic, 250, 500));
        haveHalf(first, second);
        sent.addAll(sendKeyed(topic, 500, 750));
        waitFor("750 records are seen", first, second, sent);
        if (second.read.isEmpty()) throw new Wrong("the second member saw nothing");
        second.leave();
        sent.addAll(sendKeyed(topic, 750, 1000));
        until("the first member has all partitions again", () -> first.assigned.size() == 4);
        waitFor("1000 records are seen", first, second, sent);
        first.leave();
        same("what was seen", sent, values(first, second));
        same("how many were seen", sent.size(), first.read.size() + second.read.size());
        keyOrder(first);
        keyOrder(second);
        for (TopicPartition place : partitions(topic, 4)) {
            Row last = last(place, first, second);
            same("what is committed of " + place, last.offset() + 1, committed(group).get(place).offset());
        }
    }

    static Row last(TopicPartition place, Member... members) {
        Row last = null;
        for (Member member : members) {
            for (Row row : member.read) if (row.partition() == place.partition() && (last == null || row.offset() > last.offset())) last = row;
        }
        return last;
    }

    static Map<TopicPartition, OffsetAndMetadata> committed(String group) throws Exception {
        return result(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
    }

    static void crash() throws Exception {
        String topic = topic("crash", 4);
        String group = fresh("crash");
        Member first = new Member(topic, group);
        Member second = new Member(topic, group);
        haveHalf(first, second);
        Set<String> sent = new HashSet<>(sendKeyed(topic, 0, 1000));
        until("the second member reads", () -> second.read.size() >= 50);
        second.crash();
        Map<TopicPartition, OffsetAndMetadata> before = committed(group);
        sent.addAll(sendKeyed(topic, 1000, 1500));
        until("the other has all partitions", () -> first.assigned.size() == 4);
        waitFor("every record is seen", first, second, sent);
        first.leave();
        same("what was seen", sent, values(first, second));
        keyOrder(first);
        keyOrder(second);
        // It goes on where the crashed one had committed. A last commit may have been under way, so that is between what
        // was committed when it was asked, and the end of what was printed.
        for (int partition : second.assigned) {
            TopicPartition place = new TopicPartition(topic, partition);
            long kept = before.containsKey(place) ? before.get(place).offset() : 0;
            Row printed = last(place, second);
            long end = printed == null ? 0 : printed.offset() + 1;
            long resumed = first.read.stream().filter(row -> row.partition() == partition).findFirst().orElseThrow().offset();
            if (resumed < kept || resumed > end) throw new Wrong(place + " is resumed at " + resumed + ", not from " + kept + " to " + end);
        }
        for (TopicPartition place : partitions(topic, 4)) {
            same("what is committed of " + place, last(place, first).offset() + 1, committed(group).get(place).offset());
        }
    }

    static void commitResume() throws Exception {
        String topic = topic("commit", 1);
        String group = fresh("commit");
        TopicPartition place = new TopicPartition(topic, 0);
        List<Row> sent = send(producer(), topic, 1, 0, 100);
        try (KafkaConsumer<String, String> consumer = consumer("group.id", group, "max.poll.records", "10")) {
            consumer.subscribe(List.of(topic));
            sameList("what came first", sent.subList(0, 30), rows(consumer, 30));
            consumer.commitSync(Map.of(place, new OffsetAndMetadata(27, "not all of them")));
        }
        same("what is committed", Map.of(place, new OffsetAndMetadata(27, "not all of them")), committed(group));
        try (KafkaConsumer<String, String> consumer = consumer("group.id", group)) {
            consumer.subscribe(List.of(topic));
            sameList("what came then", sent.subList(27, 100), rows(consumer, 73));
            consumer.commitSync();
        }
        same("what is committed at the end", 100L, committed(group).get(place).offset());
    }
}
