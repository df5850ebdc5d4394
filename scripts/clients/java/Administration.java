import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;

/** Topics and their configuration. */
class Administration extends Client {
    static void features() {
        feature("admin-create", Administration::create);
        feature("admin-describe", Administration::describe);
        feature("admin-alter", Administration::alter);
        feature("admin-delete", Administration::delete);
    }

    static Object create(NewTopic topic) throws Exception { return result(admin.createTopics(List.of(topic)).all()); }

    static NewTopic plain(String name, int partitions) { return new NewTopic(fresh(name), partitions, (short) 1); }

    static ConfigResource resource(String topic) { return new ConfigResource(ConfigResource.Type.TOPIC, topic); }

    static Config configs(String topic) throws Exception {
        return result(admin.describeConfigs(List.of(resource(topic))).all()).get(resource(topic));
    }

    static void create() throws Exception {
        NewTopic topic = plain("created", 3).configs(Map.of("segment.bytes", "1048576", "compression.type", "lz4"));
        create(topic);
        same("its partitions", 3, Age.describe(admin, topic.name()).partitions().size());
        same("segment.bytes", "1048576", configs(topic.name()).get("segment.bytes").value());
        same("compression.type", "lz4", configs(topic.name()).get("compression.type").value());
        fails(TopicExistsException.class, () -> create(topic));
        NewTopic unknown = plain("unknown-config", 1).configs(Map.of("no.such.config", "1"));
        fails(InvalidConfigurationException.class, () -> create(unknown));
        fails(InvalidConfigurationException.class, () -> create(plain("bad-value", 1).configs(Map.of("segment.bytes", "many"))));
        fails(InvalidTopicException.class, () -> create(new NewTopic("no/such/name", 1, (short) 1)));
        fails(InvalidPartitionsException.class, () -> create(plain("no-partitions", 0)));
        fails(InvalidReplicationFactorException.class, () -> create(new NewTopic(fresh("replicas"), 1, (short) 2)));
        NewTopic tried = plain("only-tried", 1);
        result(admin.createTopics(List.of(tried), new CreateTopicsOptions().validateOnly(true)).all());
        Set<String> names = result(admin.listTopics().names());
        same("whether it is listed", true, names.contains(topic.name()));
        for (NewTopic absent : List.of(unknown, tried)) same("whether " + absent.name() + " is listed", false, names.contains(absent.name()));
    }

    static void describe() throws Exception {
        NewTopic topic = plain("described", 2).configs(Map.of("segment.bytes", "2097152"));
        create(topic);
        TopicDescription told = Age.describe(admin, topic.name());
        same("its name", topic.name(), told.name());
        same("whether it is internal", false, told.isInternal());
        Collection<Node> nodes = result(admin.describeCluster().nodes());
        same("how many brokers there are", 1, nodes.size());
        Node node = nodes.iterator().next();
        same("the broker", broker, node.host() + ":" + node.port());
        for (int i = 0; i < 2; i++) {
            TopicPartitionInfo partition = told.partitions().get(i);
            same("the partition", i, partition.partition());
            same("its leader", node, partition.leader());
            same("its replicas", List.of(node), partition.replicas());
            same("its replicas in sync", List.of(node), partition.isr());
        }
        Config configs = configs(topic.name());
        same("segment.bytes", "2097152", configs.get("segment.bytes").value());
        same("its source", ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, configs.get("segment.bytes").source());
        same("compression.type", "producer", configs.get("compression.type").value());
        same("its source", ConfigEntry.ConfigSource.DEFAULT_CONFIG, configs.get("compression.type").source());
        fails(UnknownTopicOrPartitionException.class, () -> Age.describe(admin, fresh("unknown")));
        fails(UnknownTopicOrPartitionException.class, () -> configs(fresh("unknown")));
    }

    static void alter() throws Exception {
        NewTopic topic = plain("altered", 3);
        create(topic);
        Age.set(admin, topic.name(), "max.message.bytes", "2000");
        same("max.message.bytes", "2000", configs(topic.name()).get("max.message.bytes").value());
        same("its source", ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, configs(topic.name()).get("max.message.bytes").source());
        try (KafkaProducer<String, String> producer = producer()) {
            same("the offset of a small record", 0L, result(producer.send(new ProducerRecord<>(topic.name(), 0, "key", "small"))).offset());
            fails(RecordTooLargeException.class, () -> result(producer.send(new ProducerRecord<>(topic.name(), 0, "key", "large".repeat(1000)))));
        }
        fails(InvalidConfigurationException.class, () -> Age.set(admin, topic.name(), "no.such.config", "1"));
        fails(InvalidConfigurationException.class, () -> Age.set(admin, topic.name(), "max.message.bytes", "-5"));
        fails(UnknownTopicOrPartitionException.class, () -> Age.set(admin, fresh("unknown"), "max.message.bytes", "2000"));
        same("max.message.bytes", "2000", configs(topic.name()).get("max.message.bytes").value());
        grow(topic.name(), 5);
        same("its partitions", 5, Age.describe(admin, topic.name()).partitions().size());
        try (KafkaProducer<String, String> producer = producer()) {
            same("an offset in a new partition", 0L, result(producer.send(new ProducerRecord<>(topic.name(), 4, "key", "new"))).offset());
        }
        fails(InvalidPartitionsException.class, () -> grow(topic.name(), 4));
        fails(UnknownTopicOrPartitionException.class, () -> grow(fresh("unknown"), 4));
    }

    static Object grow(String topic, int partitions) throws Exception {
        return result(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(partitions))).all());
    }

    static void delete() throws Exception {
        NewTopic topic = plain("deleted", 2);
        create(topic);
        result(admin.deleteTopics(List.of(topic.name())).all());
        fails(UnknownTopicOrPartitionException.class, () -> Age.describe(admin, topic.name()));
        fails(UnknownTopicOrPartitionException.class, () -> result(admin.deleteTopics(List.of(topic.name())).all()));
        same("whether it is listed", false, result(admin.listTopics().names()).contains(topic.name()));
        create(topic);
        try (KafkaProducer<String, String> producer = producer()) {
            same("the first offset of a topic made anew", 0L, result(producer.send(new ProducerRecord<>(topic.name(), 0, "key", "value"))).offset());
        }
    }
}
