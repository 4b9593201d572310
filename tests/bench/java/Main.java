import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.Stores;

/**
 * The peer: the fold as a Kafka Streams job, exactly_once_v2, one thread.
 *
 * <p>It reads what lies in the input, commits, writes what it took to the stats file and ends: 0
 * when all was folded, 1 when it failed. With --warm-ups it does so that many times before, in this
 * process and under other names, so that what is measured is compiled code.
 */
public final class Main {
  private final Map<String, String> given = new HashMap<>();
  private final Properties settings = defaults();

  public static void main(String[] args) throws Exception {
    int status = new Main(args).run();
    System.exit(status);
  }

  private Main(String[] args) {
    for (int i = 0; i + 1 < args.length; i += 2) {
      if (args[i].equals("--set")) {
        String[] pair = args[i + 1].split("=", 2);
        settings.put(pair[0], pair[1]);
      } else {
        given.put(args[i], args[i + 1]);
      }
    }
  }

  /** What makes it this peer; what it is tuned with comes by `--set`. */
  private static Properties defaults() {
    Properties settings = new Properties();
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
    settings.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, RocksDb.class);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    return settings;
  }

  private int run() throws Exception {
    Campaign campaign = Campaign.read(Path.of(given.get("--campaign")));
    String warmUp = given.get("--topic-prefix") + given.get("--app-id") + "-warm-up-";
    int warmUps = Integer.parseInt(given.getOrDefault("--warm-ups", "0"));
    if (warmUps > 0) {
      create(warmUp + Announcer.REWARDS, warmUp + Announcer.TASK_EVENTS);
    }
    for (int i = 1; i <= warmUps; i++) {
      if (!drain(campaign, given.get("--app-id") + "-warm-up-" + i, warmUp, new Meter())) {
        return 1;
      }
    }
    Meter meter = new Meter();
    if (!drain(campaign, given.get("--app-id"), given.get("--outputs"), meter)) {
      return 1;
    }
    meter.write(Path.of(given.get("--stats-file")));
    return 0;
  }

  /**
   * Fold all that lies in the input now, and commit it. False: it failed; the log says why.
   *
   * <p>outputs: what the names of the topics written begin with.
   */
  private boolean drain(Campaign campaign, String appId, String outputs, Meter meter)
      throws InterruptedException {
    String input = given.get("--topic-prefix") + "orders";
    Map<Integer, Long> ends = ends(input);
    CountDownLatch over = new CountDownLatch(1);
    Properties own = new Properties();
    own.putAll(settings);
    own.put(StreamsConfig.APPLICATION_ID_CONFIG, appId);
    own.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("--bootstrap-servers"));
    own.put(StreamsConfig.STATE_DIR_CONFIG, given.get("--state-dir"));
    Clients clients = new Clients(() -> {
      meter.committed();
      if (ends.isEmpty()) {
        over.countDown();
      }
    });
    boolean[] failed = {false};
    Topology topology = topology(campaign, input, outputs, meter, ends);
    try (KafkaStreams streams = new KafkaStreams(topology, own, clients)) {
      streams.setUncaughtExceptionHandler(
          error -> {
            error.printStackTrace();
            failed[0] = true;
            over.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
          });
      streams.start();
      boolean ended = over.await(10, TimeUnit.MINUTES);
      streams.close(Duration.ofSeconds(20));
      return ended && !failed[0];
    }
  }

  private Topology topology(
      Campaign campaign, String input, String outputs, Meter meter, Map<Integer, Long> ends) {
    ByteArraySerializer bytes = new ByteArraySerializer();
    ByteArrayDeserializer read = new ByteArrayDeserializer();
    return new Topology()
        .addSource("orders", read, read, input)
        .addProcessor("fold", () -> new Folding(campaign, meter, ends), "orders")
        .addStateStore(
            Stores.keyValueStoreBuilder(
                    Stores.persistentKeyValueStore(Folding.ROWS), Serdes.ByteArray(), Row.SERDE)
                .withCachingEnabled()
                .withLoggingEnabled(Map.of()),
            "fold")
        .addSink(Announcer.REWARDS, outputs + Announcer.REWARDS, bytes, bytes, "fold")
        .addSink(Announcer.TASK_EVENTS, outputs + Announcer.TASK_EVENTS, bytes, bytes, "fold");
  }

  /** Make topics with as many partitions as the input has. */
  private void create(String... topics) throws Exception {
    Map<String, Object> config = Map.of("bootstrap.servers", given.get("--bootstrap-servers"));
    String input = given.get("--topic-prefix") + "orders";
    try (Admin admin = Admin.create(config)) {
      int partitions =
          admin.describeTopics(List.of(input)).allTopicNames().get().get(input).partitions().size();
      List<NewTopic> wanted = new ArrayList<>();
      for (String topic : topics) {
        wanted.add(new NewTopic(topic, partitions, (short) 1));
      }
      admin.createTopics(wanted).all().get();
    }
  }

  /** Where the input ends now, by partition; partitions without records are left out. */
  private Map<Integer, Long> ends(String topic) {
    Map<String, Object> config = Map.of("bootstrap.servers", given.get("--bootstrap-servers"));
    ByteArrayDeserializer read = new ByteArrayDeserializer();
    try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, read, read)) {
      List<TopicPartition> partitions = new ArrayList<>();
      for (PartitionInfo one : consumer.partitionsFor(topic)) {
        partitions.add(new TopicPartition(topic, one.partition()));
      }
      Map<Integer, Long> found = new HashMap<>();
      consumer.endOffsets(partitions).forEach((at, end) -> found.put(at.partition(), end));
      found.values().removeIf(end -> end == 0);
      return found;
    }
  }
}
