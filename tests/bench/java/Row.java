import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/**
 * All state of one user: what the task has come to, and the orders known, by (time, order id).
 *
 * <p>The orders stay packed, as in the bytes of the row: one in time order is added behind them.
 */
final class Row {
  private static final int HEAD_BYTES = 5 * Integer.BYTES + 2 * Long.BYTES;
  private static final int FACT_BYTES = 4 * Long.BYTES + 1 + 2 * Short.BYTES;

  int counted;
  int rev; // how much was said of the task; 0: it has not begun
  int paidStep; // the highest step that was rewarded
  int lastDay = Integer.MIN_VALUE;
  int lastDayCount;
  long accumulatedMinor;
  long completedMs;
  private byte[] facts = new byte[0];

  /** An order as the row keeps it. code: an index of {@link Tally#CODES}. */
  record Fact(
      long atMs, long recordedMs, long hash, long spentMinor, byte code, byte[] id, byte[] parts) {
    int bytes() {
      return FACT_BYTES + id.length + parts.length;
    }

    String name() {
      return new String(id, StandardCharsets.UTF_8);
    }

    boolean before(long otherMs, byte[] otherId) {
      return atMs != otherMs ? atMs < otherMs : Arrays.compareUnsigned(id, otherId) < 0;
    }
  }

  static final Serde<Row> SERDE =
      Serdes.serdeFrom((topic, row) -> row.bytes(), (topic, read) -> of(read));

  private static Row of(byte[] read) {
    if (read == null) {
      return null;
    }
    Row row = new Row();
    ByteBuffer from = ByteBuffer.wrap(read);
    row.counted = from.getInt();
    row.rev = from.getInt();
    row.paidStep = from.getInt();
    row.lastDay = from.getInt();
    row.lastDayCount = from.getInt();
    row.accumulatedMinor = from.getLong();
    row.completedMs = from.getLong();
    row.facts = Arrays.copyOfRange(read, HEAD_BYTES, read.length);
    return row;
  }

  private byte[] bytes() {
    ByteBuffer into = ByteBuffer.allocate(HEAD_BYTES + facts.length);
    into.putInt(counted).putInt(rev).putInt(paidStep).putInt(lastDay).putInt(lastDayCount);
    into.putLong(accumulatedMinor).putLong(completedMs).put(facts);
    return into.array();
  }

  boolean isEmpty() {
    return facts.length == 0;
  }

  /** The content hash of an order that is known already, else null. */
  Long known(byte[] id) {
    ByteBuffer from = ByteBuffer.wrap(facts);
    for (int at = 0; at < facts.length; at = next(from, at)) {
      int end = at + FACT_BYTES + from.getShort(at);
      if (Arrays.equals(facts, at + FACT_BYTES, end, id, 0, id.length)) {
        return from.getLong(at + 2 * Short.BYTES + 2 * Long.BYTES);
      }
    }
    return null;
  }

  /** Whether an order comes after all that are known. */
  boolean isNewest(long atMs, byte[] id) {
    ByteBuffer from = ByteBuffer.wrap(facts);
    int last = 0;
    for (int at = 0; at < facts.length; at = next(from, at)) {
      last = at;
    }
    return facts.length == 0 || fact(from, last).before(atMs, id);
  }

  List<Fact> facts() {
    List<Fact> found = new ArrayList<>();
    ByteBuffer from = ByteBuffer.wrap(facts);
    for (int at = 0; at < facts.length; at = next(from, at)) {
      found.add(fact(from, at));
    }
    return found;
  }

  void append(Fact fact) {
    int at = facts.length;
    facts = Arrays.copyOf(facts, at + fact.bytes());
    write(ByteBuffer.wrap(facts).position(at), fact);
  }

  void replace(List<Fact> sorted) {
    int length = sorted.stream().mapToInt(Fact::bytes).sum();
    ByteBuffer into = ByteBuffer.allocate(length);
    sorted.forEach(fact -> write(into, fact));
    facts = into.array();
  }

  private static void write(ByteBuffer into, Fact fact) {
    into.putShort((short) fact.id.length).putShort((short) fact.parts.length);
    into.putLong(fact.atMs).putLong(fact.recordedMs);
    into.putLong(fact.hash).putLong(fact.spentMinor).put(fact.code).put(fact.id).put(fact.parts);
  }

  private static int next(ByteBuffer from, int at) {
    return at + FACT_BYTES + from.getShort(at) + from.getShort(at + Short.BYTES);
  }

  private static Fact fact(ByteBuffer from, int at) {
    byte[] id = new byte[from.getShort(at)];
    byte[] parts = new byte[from.getShort(at + Short.BYTES)];
    from.get(at + FACT_BYTES, id);
    from.get(at + FACT_BYTES + id.length, parts);
    int field = at + 2 * Short.BYTES;
    return new Fact(
        from.getLong(field), from.getLong(field + 8), from.getLong(field + 16),
        from.getLong(field + 24), from.get(field + 32), id, parts);
  }
}
