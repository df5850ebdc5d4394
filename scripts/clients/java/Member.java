import java.io.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;

/** A member of a group, as a process of its own, and what those who start it know of it. */
class Member extends Client {
    /** What it was given last. */
    volatile Set<Integer> assigned = Set.of();
    final List<Row> read = new CopyOnWriteArrayList<>();
    final Process process;
    private final Thread reader;

    Member(String topic, String group) throws IOException {
        List<String> command = List.of(ProcessHandle.current().info().command().orElse("java"), "-Xmx128m",
            "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp",
            System.getProperty("java.class.path"), "Client", "member", broker, topic, group);
        process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        reader = new Thread(() -> process.inputReader().lines().forEach(line -> take(topic, line)));
        reader.start();
        Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
    }

    private void take(String topic, String line) {
        String[] words = line.split(" ", 3);
        if (words[0].equals("assigned")) {
            Set<Integer> given = new TreeSet<>();
            if (words.length > 1) for (String one : words[1].split(",")) given.add(Integer.valueOf(one));
            assigned = given;
        } else {
            read.add(new Row(topic, Integer.parseInt(words[0]), Long.parseLong(words[1]), null, words[2]));
        }
    }

    /** Ends it as an operator would, and waits. */
    void leave() throws Exception {
        process.destroy();
        until("a member ends", () -> !process.isAlive());
        reader.join(PATIENCE.toMillis());
        // A JVM that a signal ended tells so; anything else is a failure.
        same("the status of a member that leaves", 143, process.exitValue());
    }

    /** As kill -9. What it printed before is read. */
    void crash() throws Exception {
        process.destroyForcibly();
        until("a member ends", () -> !process.isAlive());
        reader.join(PATIENCE.toMillis());
    }

    /** The program of a member. */
    static void run(String where, String topic, String group) {
        broker = where;
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true);
        KafkaConsumer<String, String> consumer = consumer("group.id", group, "session.timeout.ms", "6000",
            "heartbeat.interval.ms", "500", "max.poll.records", "20");
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                main.join(10_000);
            } catch (InterruptedException interrupted) {
                main.interrupt();
            }
        }));
        consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) { }

            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                List<String> all = consumer.assignment().stream().map(TopicPartition::partition).sorted().map(String::valueOf).toList();
                out.println("assigned " + String.join(",", all));
            }
        });
        try {
            while (true) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                records.forEach(read -> out.println(read.partition() + " " + read.offset() + " " + read.value()));
                try {
                    if (!records.isEmpty()) consumer.commitSync();
                } catch (CommitFailedException | RebalanceInProgressException late) {
                    System.err.println("member: a commit came too late: " + late);
                }
            }
        } catch (WakeupException ends) {
            consumer.close();
        }
    }
}
