import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/**
 * One order, decoded and checked. Amounts are minor units, times ms. Two with the same id and
 * content hash are the same: in the hash is what streams/domain/facts.py compares.
 *
 * <p>The workload takes nothing back, but a worker cannot know: who folds orders for good keeps of
 * each what a later return of one of its lines is judged by, as leidan does.
 */
final class Order {
  private static final JsonFactory JSON = new JsonFactory();
  private static final long LEAD_MS = 60_000; // an event may be dated so far ahead of its record

  String userId;
  String id;
  long version;
  long atMs;
  long recordedMs;
  String currency;
  long consumptionMinor;
  long contentHash;
  byte[] idBytes;
  byte[] parts; // what a return or a cancellation of it will be judged by, packed: see pack()
  private final ByteArrayOutputStream packed = new ByteArrayOutputStream(256);
  private final DataOutputStream pack = new DataOutputStream(packed);
  private long linesMinor;
  private long discountsMinor;

  /** A record that is no order of the workload: it changes nothing. */
  static final class Rejected extends Exception {
    private static final long serialVersionUID = 1;

    Rejected(String why) {
      super(why, null, false, false);
    }
  }

  static Order decode(byte[] value, long recordedMs) throws Rejected {
    Order order = new Order();
    order.recordedMs = recordedMs;
    try (JsonParser json = JSON.createParser(value)) {
      order.read(json);
    } catch (IOException | RuntimeException bad) {
      throw new Rejected(String.valueOf(bad.getMessage()));
    }
    if (order.atMs > recordedMs + LEAD_MS) {
      throw new Rejected("future");
    }
    order.idBytes = order.id.getBytes(StandardCharsets.UTF_8);
    return order;
  }

  private void read(JsonParser json) throws IOException, Rejected {
    String type = null;
    String channel = null;
    String storeId = null;
    long major = 0;
    long goods = 0;
    require(json.nextToken() == JsonToken.START_OBJECT);
    for (String name = json.nextFieldName(); name != null; name = json.nextFieldName()) {
      boolean absent = json.nextToken() == JsonToken.VALUE_NULL;
      switch (name) {
        case "type" -> type = text(json);
        case "v" -> major = json.getLongValue();
        case "user_id" -> userId = text(json);
        case "occurred_at" -> atMs = Calendar.instantMs(text(json));
        case "version" -> version = json.getLongValue();
        case "order_id" -> id = text(json);
        case "currency" -> currency = text(json);
        case "goods_minor" -> goods = json.getLongValue();
        case "consumption_minor" -> consumptionMinor = json.getLongValue();
        case "channel" -> {
          channel = absent ? null : text(json);
          contentHash += absent ? 0 : mixed(1, channel.hashCode());
        }
        case "store_id" -> {
          storeId = absent ? null : text(json);
          contentHash += absent ? 0 : mixed(2, storeId.hashCode());
        }
        case "parent_order_id" -> require(absent);
        case "lines" -> readLines(json);
        case "discounts" -> readDiscounts(json);
        default -> json.skipChildren();
      }
    }
    require("order.paid".equals(type) && major == 1 && version == 1); // what the workload has
    require(userId != null && id != null && currency != null && atMs > 0);
    require(linesMinor == goods && goods - discountsMinor == consumptionMinor);
    require(consumptionMinor >= 0);
    contentHash = mixed(mixed(contentHash + currency.hashCode(), atMs), consumptionMinor);
    pack(currency);
    pack(channel);
    pack(storeId);
    pack.writeLong(goods);
    pack.writeLong(version);
    parts = packed.toByteArray();
  }

  /** A text as the row keeps it; null and empty are the same there. */
  private void pack(String text) throws IOException {
    byte[] bytes = text == null ? new byte[0] : text.getBytes(StandardCharsets.UTF_8);
    pack.writeShort(bytes.length);
    pack.write(bytes);
  }

  private void readLines(JsonParser json) throws IOException, Rejected {
    long hash = 3;
    require(json.currentToken() == JsonToken.START_ARRAY);
    while (json.nextToken() == JsonToken.START_OBJECT) {
      long quantity = 0;
      long unitMinor = 0;
      long names = 0;
      String lineId = null;
      String category = null;
      for (String name = json.nextFieldName(); name != null; name = json.nextFieldName()) {
        boolean absent = json.nextToken() == JsonToken.VALUE_NULL;
        switch (name) {
          case "line_id" -> {
            lineId = text(json);
            names += mixed(4, lineId.hashCode());
          }
          case "category" -> {
            category = absent ? null : text(json);
            names += absent ? 0 : mixed(5, category.hashCode());
          }
          case "quantity" -> quantity = json.getLongValue();
          case "unit_minor" -> unitMinor = json.getLongValue();
          default -> json.skipChildren();
        }
      }
      linesMinor += quantity * unitMinor;
      pack(lineId);
      pack(category);
      pack.writeInt((int) quantity);
      pack.writeInt((int) unitMinor);
      hash = mixed(hash, mixed(mixed(names, quantity), unitMinor));
    }
    contentHash += hash;
  }

  private void readDiscounts(JsonParser json) throws IOException {
    long hash = 6;
    while (!json.hasToken(JsonToken.VALUE_NULL) && json.nextToken() == JsonToken.START_OBJECT) {
      long amountMinor = 0;
      long thresholdMinor = 0;
      for (String name = json.nextFieldName(); name != null; name = json.nextFieldName()) {
        boolean absent = json.nextToken() == JsonToken.VALUE_NULL;
        switch (name) {
          case "amount_minor" -> amountMinor = json.getLongValue();
          case "threshold_minor" -> thresholdMinor = absent ? 0 : json.getLongValue();
          default -> json.skipChildren();
        }
      }
      discountsMinor += amountMinor;
      pack.writeInt((int) amountMinor);
      pack.writeInt((int) thresholdMinor);
      hash = mixed(mixed(hash, amountMinor), thresholdMinor);
    }
    contentHash += hash;
  }

  private static String text(JsonParser json) throws IOException, Rejected {
    require(json.currentToken() == JsonToken.VALUE_STRING);
    return json.getText();
  }

  private static void require(boolean holds) throws Rejected {
    if (!holds) {
      throw new Rejected("schema");
    }
  }

  private static long mixed(long into, long value) {
    long all = (into ^ value) * 0x9E3779B97F4A7C15L;
    return all ^ (all >>> 32);
  }
}
