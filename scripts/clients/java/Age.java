import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.config.ConfigResource;

/** What the current client does otherwise than the old one. */
class Age {
    static final boolean ZSTD = true;

    static TopicDescription describe(AdminClient admin, String topic) throws Exception {
        return Client.result(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
    }

    static Object set(AdminClient admin, String topic, String name, String value) throws Exception {
        AlterConfigOp change = new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET);
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return Client.result(admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all());
    }
}
