import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** One version of one order, decoded and checked. Amounts are minor units, times ms. */
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

  /** A record that is no order of the workload: it changes nothing. */
  static final class Rejected extends Exception {
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
    long discounted = 0;
    long summed = 0;
    long hash = 0;
    require(json.nextToken() == JsonToken.START_OBJECT);
    for (String name = json.nextFieldName(); name != null; name = json.nextFieldName()) {
      JsonToken token = json.nextToken();
      switch (name) {
        case "type" -> type = text(json);
        case "v" -> major = json.getLongValue();
        case "user_id" -> userId = text(json);
        case "occurred_at" -> atMs = Calendar.instantMs(text(json));
        case "version" -> version = json.getLongValue();
        case "order_id" -> id = text(json);
        case "currency" -> hash += mixed(1, (currency = text(json)).hashCode());
        case "goods_minor" -> goods = json.getLongValue();
        case "consumption_minor" -> consumptionMinor = json.getLongValue();
        case "channel" -> hash += token == JsonToken.VALUE_NULL ? 0 : mixed(2, text(json).hashCode());
        case "store_id" -> hash += token == JsonToken.VALUE_NULL ? 0 : mixed(3, text(json).hashCode());
        case "parent_order_id" -> require(token == JsonToken.VALUE_NULL); // not of this workload
        case "lines" -> {
          long of = 4;
          require(token == JsonToken.START_ARRAY);
          while (json.nextToken() == JsonToken.START_OBJECT) {
            long quantity = 0;
            long unit = 0;
            long line = 0;
            for (String part = json.nextFieldName(); part != null; part = json.nextFieldName()) {
              json.nextToken();
              switch (part) {
                case "line_id" -> line += mixed(5, text(json).hashCode());
                case "category" -> line += mixed(6, text(json).hashCode());
                case "quantity" -> quantity = json.getLongValue();
                case "unit_minor" -> unit = json.getLongValue();
                default -> json.skipChildren();
              }
            }
            summed += quantity * unit;
            of = mixed(of, mixed(mixed(line, quantity), unit));
          }
          hash += of;
        }
        case "discounts" -> {
          long of = 7;
          while (token == JsonToken.START_ARRAY && json.nextToken() == JsonToken.START_OBJECT) {
            long amount = 0;
            long threshold = 0;
            for (String part = json.nextFieldName(); part != null; part = json.nextFieldName()) {
              json.nextToken();
              switch (part) {
                case "amount_minor" -> amount = json.getLongValue();
                case "threshold_minor" -> threshold = json.getLongValue();
                default -> json.skipChildren();
              }
            }
            discounted += amount;
            of = mixed(mixed(of, amount), threshold);
          }
          hash += of;
        }
        default -> json.skipChildren();
      }
    }
    require("order.paid".equals(type) && major == 1 && version >= 1);
    require(userId != null && id != null && currency != null && atMs > 0);
    require(summed == goods && goods - discounted == consumptionMinor && consumptionMinor >= 0);
    contentHash = mixed(mixed(hash, atMs), consumptionMinor);
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
