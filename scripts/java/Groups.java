// Kafka's own consumer and admin client in groups of the classic protocol: cooperative rebalancing, static members,
// what an operator does with a group. Writes a line `ok NAME` or `FAILED NAME: WHY` for each check.
//
// Usage: java -cp KAFKA_LIBS Groups.java BROKER

import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Groups {
    static final long PATIENCE_MS = 30_000;
    static String broker;

    /** A consumer with a thread that polls it, and what its rebalances took and gave. */
    static class Member implements ConsumerRebalanceListener {
        final KafkaConsumer<String, String> consumer;
        final Thread thread;
        final List<TopicPartition> revoked = new CopyOnWriteArrayList<>();
        volatile Set<TopicPartition> assigned = Set.of();
        volatile int generation = -1;
        volatile int rebalances = 0;
        volatile Exception failure;
        volatile boolean stop = false;

        Member(String group, String topic, String assignor, String instance) {
            Properties settings = new Properties();
            settings.put("bootstrap.servers", broker);
            settings.put("group.id", group);
            settings.put("group.protocol", "classic");
            settings.put("auto.offset.reset", "earliest");
            settings.put("session.timeout.ms", "10000");
            settings.put("heartbeat.interval.ms", "300");
            settings.put("partition.assignment.strategy", assignor);
            if (instance != null) settings.put("group.instance.id", instance);
            consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
            consumer.subscribe(List.of(topic), this);
            thread = new Thread(() -> {
                try {
                    while (!stop) {
                        consumer.poll(Duration.ofMillis(100));
                        assigned = Set.copyOf(consumer.assignment());
                        generation = consumer.groupMetadata().generationId();
                    }
                } catch (Exception failed) {
                    failure = failed;
                }
                consumer.close();
            });
            thread.start();
        }

        public void onPartitionsRevoked(Collection<TopicPartition> partitions) { revoked.addAll(partitions); }

        public void onPartitionsAssigned(Collection<TopicPartition> partitions) { rebalances++; }

        void close() throws InterruptedException {
            stop = true;
            thread.join(PATIENCE_MS);
        }
    }

    static void check(String name, boolean holds, Object seen) {
        System.out.println(holds ? "ok " + name : "FAILED " + name + ": " + seen);
    }

    static boolean until(BooleanSupplier holds) throws InterruptedException {
        long end = System.currentTimeMillis() + PATIENCE_MS;
        while (!holds.getAsBoolean()) {
            if (System.currentTimeMillis() > end) return false;
            Thread.sleep(20);
        }
        return true;
    }

    interface Work { Object get() throws Exception; }

    /** The class of the error that the work ends with. */
    static String error(Work work) throws Exception {
        try {
            return "no error: " + work.get();
        } catch (ExecutionException failed) {
            return failed.getCause().getClass().getSimpleName();
        }
    }

    public static void main(String[] args) throws Exception {
        broker = args[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            admin.createTopics(List.of(new NewTopic("java-coop", 6, (short) 1), new NewTopic("java-fixed", 4, (short) 1)))
                .all().get();
            cooperative();
            fixed(admin);
        }
        System.exit(0);
    }

    static void cooperative() throws Exception {
        String sticky = CooperativeStickyAssignor.class.getName();
        Member first = new Member("java-coop", "java-coop", sticky, null);
        check("cooperative: the first member has all partitions", until(() -> first.assigned.size() == 6), first.assigned);
        Member second = new Member("java-coop", "java-coop", sticky, null);
        boolean shared = until(() -> first.assigned.size() == 3 && second.assigned.size() == 3);
        check("cooperative: the second gets half", shared, first.assigned + " " + second.assigned);
        check("cooperative: only what moves is given up", first.revoked.size() == 3
            && Collections.disjoint(first.revoked, first.assigned), first.revoked);
        second.close();
        check("cooperative: the first takes over again", until(() -> first.assigned.size() == 6), first.assigned);
        check("cooperative: and gives up nothing for that", first.revoked.size() == 3, first.revoked);
        first.close();
    }

    static void fixed(Admin admin) throws Exception {
        String range = RangeAssignor.class.getName();
        Member first = new Member("java-fixed", "java-fixed", range, "one");
        Member second = new Member("java-fixed", "java-fixed", range, "two");
        boolean shared = until(() -> first.assigned.size() == 2 && second.assigned.size() == 2
            && first.generation == second.generation);
        check("static: two members share", shared, first.assigned + " " + second.assigned);
        int generation = first.generation;
        int rebalances = first.rebalances;
        Set<TopicPartition> before = second.assigned;
        second.close();
        Member again = new Member("java-fixed", "java-fixed", range, "two");
        check("static: one that restarts has what it had", until(() -> again.assigned.equals(before)), again.assigned);
        Thread.sleep(1000);
        check("static: without a rebalance", first.generation == generation && again.generation == generation
            && first.rebalances == rebalances, generation + " " + first.generation + " " + again.generation);
        Member twin = new Member("java-fixed", "java-fixed", range, "two");
        until(() -> again.failure != null);
        check("static: the one before is fenced", again.failure instanceof FencedInstanceIdException, again.failure);
        check("static: and the later one goes on", until(() -> twin.assigned.equals(before)), twin.assigned);

        ConsumerGroupDescription described = admin.describeConsumerGroups(List.of("java-fixed")).all().get().get("java-fixed");
        Set<String> instances = new TreeSet<>();
        described.members().forEach(member -> instances.add(member.groupInstanceId().orElse("none")));
        check("admin: describe tells the instance ids", instances.equals(Set.of("one", "two")), described);
        TopicPartition place = new TopicPartition("java-fixed", 0);
        check("admin: a group with members is not deleted",
            error(() -> admin.deleteConsumerGroups(List.of("java-fixed")).all().get()).equals("GroupNotEmptyException"),
            error(() -> admin.deleteConsumerGroups(List.of("java-fixed")).all().get()));
        String kept = error(() -> admin.deleteConsumerGroupOffsets("java-fixed", Set.of(place)).all().get());
        check("admin: offsets of a topic that is consumed are kept", kept.equals("GroupSubscribedToTopicException"), kept);
        RemoveMembersFromConsumerGroupOptions two =
            new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("two")));
        twin.close();
        admin.removeMembersFromConsumerGroup("java-fixed", two).all().get();
        check("admin: a static member is removed, and the other takes over", until(() -> first.assigned.size() == 4),
            first.assigned);
        first.close();
        RemoveMembersFromConsumerGroupOptions rest = new RemoveMembersFromConsumerGroupOptions();
        rest.reason("the test is over");
        admin.removeMembersFromConsumerGroup("java-fixed", rest).all().get();
        Map<TopicPartition, OffsetAndMetadata> offsets =
            Map.of(place, new OffsetAndMetadata(7, Optional.of(0), "by hand"), new TopicPartition("java-fixed", 1),
                new OffsetAndMetadata(8));
        admin.alterConsumerGroupOffsets("java-fixed", offsets).all().get();
        Map<String, ListConsumerGroupOffsetsSpec> both =
            Map.of("java-fixed", new ListConsumerGroupOffsetsSpec(), "java-coop", new ListConsumerGroupOffsetsSpec());
        Map<String, Map<TopicPartition, OffsetAndMetadata>> told = admin.listConsumerGroupOffsets(both).all().get();
        OffsetAndMetadata found = told.get("java-fixed").get(place);
        check("admin: offsets set by hand, with their metadata, several groups at once",
            found != null && found.offset() == 7 && found.metadata().equals("by hand"), told);
        admin.deleteConsumerGroupOffsets("java-fixed", Set.of(place)).all().get();
        Map<TopicPartition, OffsetAndMetadata> left =
            admin.listConsumerGroupOffsets("java-fixed").partitionsToOffsetAndMetadata().get();
        check("admin: offsets deleted one by one", !left.containsKey(place)
            && left.get(new TopicPartition("java-fixed", 1)).offset() == 8, left);
        admin.deleteConsumerGroups(List.of("java-fixed")).all().get();
        Collection<ConsumerGroupListing> groups = admin.listConsumerGroups().all().get();
        check("admin: a group deleted", groups.stream().noneMatch(group -> group.groupId().equals("java-fixed")), groups);
        String gone = error(() -> admin.deleteConsumerGroups(List.of("java-fixed")).all().get());
        check("admin: and not twice", gone.equals("GroupIdNotFoundException"), gone);
    }
}
