import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/**
 * One order, decoded and checked. Amounts are minor units, times ms. Two with the same id and
 * content hash are the same: in the hash is what streams/domain/facts.py compares.
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
        case "channel" -> contentHash += absent ? 0 : mixed(1, text(json).hashCode());
        case "store_id" -> contentHash += absent ? 0 : mixed(2, text(json).hashCode());
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
  }

  private void readLines(JsonParser json) throws IOException, Rejected {
    long hash = 3;
    require(json.currentToken() == JsonToken.START_ARRAY);
    while (json.nextToken() == JsonToken.START_OBJECT) {
      long quantity = 0;
      long unitMinor = 0;
      long names = 0;
      for (String name = json.nextFieldName(); name != null; name = json.nextFieldName()) {
        boolean absent = json.nextToken() == JsonToken.VALUE_NULL;
        switch (name) {
          case "line_id" -> names += mixed(4, text(json).hashCode());
          case "category" -> names += absent ? 0 : mixed(5, text(json).hashCode());
          case "quantity" -> quantity = json.getLongValue();
          case "unit_minor" -> unitMinor = json.getLongValue();
          default -> json.skipChildren();
        }
      }
      linesMinor += quantity * unitMinor;
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
