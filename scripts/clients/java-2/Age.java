import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.config.ConfigResource;

/** What the old client does otherwise than the current one: a change of the configuration replaces all of it. */
class Age {
    static final boolean ZSTD = false;

    static TopicDescription describe(AdminClient admin, String topic) throws Exception {
        return Client.result(admin.describeTopics(List.of(topic)).all()).get(topic);
    }

    static Object set(AdminClient admin, String topic, String name, String value) throws Exception {
        Config all = new Config(List.of(new ConfigEntry(name, value)));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return Client.result(admin.alterConfigs(Map.of(resource, all)).all());
    }
}
