import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;

/** One record: decode, read the row, fold, write the row, send what follows. */
final class Folding implements Processor<byte[], byte[], byte[], byte[]> {
  static final String ROWS = "rows";

  private static final byte[] JSON = utf8("application/json"), CE_VERSION = utf8("1.0");
  private static final byte[] SOURCE = utf8("/leidan"), CAUSE_TOPIC = utf8("orders");
  private static final byte[] REWARDS_SCHEMA = utf8("/schemas/rewards.v1.schema.json");
  private static final byte[] TASK_EVENTS_SCHEMA = utf8("/schemas/task-events.v1.schema.json");

  private final Fold fold;
  private final Meter meter;
  private final Map<Integer, Long> ends;
  private ProcessorContext<byte[], byte[]> context;
  private KeyValueStore<byte[], Row> rows;

  /** ends: by partition, what is still to be read up to; shared by the tasks of the one thread. */
  Folding(Campaign campaign, Meter meter, Map<Integer, Long> ends) {
    this.fold = new Fold(campaign);
    this.meter = meter;
    this.ends = ends;
  }

  @Override
  public void init(ProcessorContext<byte[], byte[]> context) {
    this.context = context;
    this.rows = context.getStateStore(ROWS);
  }

  @Override
  public void process(Record<byte[], byte[]> record) {
    RecordMetadata cause = context.recordMetadata().orElseThrow();
    meter.took();
    try {
      fold(record, cause);
    } catch (Order.Rejected refused) {
      meter.rejected++;
    }
    if (cause.offset() + 1 >= ends.getOrDefault(cause.partition(), Long.MAX_VALUE)) {
      ends.remove(cause.partition());
      if (ends.isEmpty()) {
        context.commit(); // all is read: what is left of the interval would be idle time
      }
    }
  }

  private void fold(Record<byte[], byte[]> record, RecordMetadata cause) throws Order.Rejected {
    byte[] user = record.key();
    Order order = Order.decode(record.value(), record.timestamp());
    if (user == null || !order.userId.equals(new String(user, StandardCharsets.UTF_8))) {
      throw new Order.Rejected("key_mismatch");
    }
    Row row = rows.get(user);
    Long known = row == null ? null : row.known(order.idBytes);
    if (known != null) { // the same again, or other content under a known id: the first stays
      meter.known += known == order.contentHash ? 1 : 0;
      meter.conflicts += known == order.contentHash ? 0 : 1;
      return;
    }
    row = row == null ? new Row() : row;
    long now = context.currentSystemTimeMs();
    for (Said said : fold.step(row, order)) {
      Headers headers = headers(said, user, cause);
      context.forward(new Record<>(user, said.value(), now, headers), said.sink());
    }
    rows.put(user, row);
  }

  /** CloudEvents in binary mode, and the position of the cause, as leidan writes them. */
  private static Headers headers(Said said, byte[] user, RecordMetadata cause) {
    boolean reward = said.sink().equals(Announcer.REWARDS);
    RecordHeaders headers = new RecordHeaders();
    headers.add("content-type", JSON);
    headers.add("ce_specversion", CE_VERSION);
    headers.add("ce_source", SOURCE);
    headers.add("ce_type", utf8("leidan." + said.type() + ".v1"));
    headers.add("ce_dataschema", reward ? REWARDS_SCHEMA : TASK_EVENTS_SCHEMA);
    headers.add("ce_id", utf8(said.eventId()));
    headers.add("ce_subject", user);
    headers.add("ce_time", utf8(said.at()));
    headers.add("cause-topic", CAUSE_TOPIC);
    headers.add("cause-partition", utf8(Integer.toString(cause.partition())));
    headers.add("cause-offset", utf8(Long.toString(cause.offset())));
    return headers;
  }

  private static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
