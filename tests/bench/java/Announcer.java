import com.fasterxml.jackson.core.io.JsonStringEncoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** Writes the outputs of one order: JSON with sorted keys, ids derived from stable fields. */
final class Announcer {
  static final String TASK_EVENTS = "task-events", REWARDS = "rewards";

  private static final JsonStringEncoder ESCAPE = JsonStringEncoder.getInstance();
  private static final Calendar UTC = new Calendar("UTC");
  private static final HexFormat HEX = HexFormat.of();

  private final Campaign campaign;
  private final MessageDigest sha256;
  private final String deadline;
  private String user, taskId, causeId, at, userQuoted, causeQuoted;
  private long atMs;

  Announcer(Campaign campaign) {
    this.campaign = campaign;
    this.deadline = campaign.calendar().text(campaign.endMs());
    try {
      this.sha256 = MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException(impossible);
    }
  }

  /** What follows is said because of this order. */
  void about(Order order) {
    user = order.userId;
    taskId = "tsk_" + derived("task", user, campaign.id(), "1");
    causeId = "order:" + order.id + ":" + order.version;
    atMs = order.atMs;
    at = campaign.calendar().text(atMs);
    userQuoted = quoted(user);
    causeQuoted = quoted(causeId);
  }

  Said task(String type, Row row) {
    String eventId = "evt_" + derived("event", taskId, type, causeId);
    return taskEvent(type, eventId, "", "", row);
  }

  /** An order that did not count, for the task or (NO_TASK) for the user, and why. */
  Said order(String orderId, byte code, Row row) {
    String type = code == Tally.SPARE ? "order.spare" : "order.ignored";
    String holder = code == Tally.NO_TASK ? user : taskId;
    String name = Tally.CODES[code];
    String eventId = "evt_" + derived("event", holder, type, causeId, orderId, name);
    String codeField = code == Tally.SPARE ? "" : "\"code\":\"" + name + "\",";
    String orderField = "\"order_id\":\"" + quoted(orderId) + "\",";
    if (code != Tally.NO_TASK) {
      return taskEvent(type, eventId, codeField, orderField, row);
    }
    String time = UTC.text(atMs);
    StringBuilder json = new StringBuilder(384);
    json.append("{\"cause_id\":\"").append(causeQuoted).append("\",").append(codeField);
    json.append("\"event_id\":\"").append(eventId);
    json.append("\",\"occurred_at\":\"").append(time).append("\",").append(orderField);
    json.append("\"type\":\"").append(type);
    json.append("\",\"user_id\":\"").append(userQuoted).append("\",\"v\":1}");
    return new Said(TASK_EVENTS, type, eventId, time, utf8(json));
  }

  Said reward(int step, String orderId) {
    String label = Integer.toString(step);
    String rewardId = "rwd_" + derived("reward", taskId, label, "final", campaign.rightId());
    String type = "reward.issued";
    String eventId = "evt_" + derived("event", rewardId, type, "1");
    long value = campaign.valueMinor();
    StringBuilder json = new StringBuilder(768);
    json.append("{\"amount_minor\":").append(value);
    json.append(",\"campaign_id\":\"").append(campaign.id());
    json.append("\",\"campaign_version\":").append(campaign.version());
    json.append(",\"cause_id\":\"").append(causeQuoted);
    json.append("\",\"currency\":\"").append(campaign.currency());
    json.append("\",\"event_id\":\"").append(eventId);
    json.append("\",\"kind\":\"final\",\"occurred_at\":\"").append(at);
    json.append("\",\"offset_minor\":0,\"order_id\":\"").append(quoted(orderId));
    json.append("\",\"postings\":[{\"account\":\"budget\",\"amount_minor\":").append(-value);
    json.append("},{\"account\":\"issued\",\"amount_minor\":").append(value);
    json.append("}],\"reward_id\":\"").append(rewardId);
    json.append("\",\"right\":{\"right_id\":\"").append(campaign.rightId());
    json.append("\",\"type\":\"").append(campaign.rightType());
    json.append("\",\"value_minor\":").append(value);
    json.append("},\"round\":1,\"seq\":1,\"step\":\"").append(label);
    json.append("\",\"task_id\":\"").append(taskId);
    json.append("\",\"type\":\"").append(type);
    json.append("\",\"user_id\":\"").append(userQuoted);
    long validMs = atMs + campaign.validDays() * Calendar.DAY_MS;
    json.append("\",\"v\":1,\"valid_until\":\"").append(campaign.calendar().text(validMs));
    json.append("\"}");
    return new Said(REWARDS, type, eventId, at, utf8(json));
  }

  private Said taskEvent(
      String type, String eventId, String codeField, String orderField, Row row) {
    boolean completed = row.completedMs != 0;
    int remaining = completed ? 0 : campaign.limit() - row.counted;
    StringBuilder json = new StringBuilder(640);
    json.append("{\"campaign_id\":\"").append(campaign.id());
    json.append("\",\"campaign_version\":").append(campaign.version());
    json.append(",\"cause_id\":\"").append(causeQuoted).append("\",").append(codeField);
    json.append("\"event_id\":\"").append(eventId);
    json.append("\",\"occurred_at\":\"").append(at).append("\",").append(orderField);
    json.append("\"rev\":").append(row.rev);
    json.append(",\"round\":1,\"task_id\":\"").append(taskId);
    json.append("\",\"type\":\"").append(type);
    json.append("\",\"user_id\":\"").append(userQuoted);
    json.append("\",\"v\":1,\"view\":{\"accumulated_minor\":").append(row.accumulatedMinor);
    json.append(",\"counted\":").append(row.counted);
    json.append(",\"deadline\":\"").append(deadline);
    json.append("\",\"remaining\":").append(remaining);
    json.append(",\"saved_minor\":0,\"state\":\"").append(completed ? "completed" : "active");
    json.append("\",\"target\":").append(campaign.limit()).append("}}");
    return new Said(TASK_EVENTS, type, eventId, at, utf8(json));
  }

  /** 32 hex digits of SHA-256 over the lines `leidan/kind/1`, parts. */
  private String derived(String kind, String... parts) {
    StringBuilder lines = new StringBuilder(192).append("leidan/").append(kind).append("/1");
    for (String part : parts) {
      lines.append('\n').append(part);
    }
    return HEX.formatHex(sha256.digest(utf8(lines)), 0, 16);
  }

  private static String quoted(String text) {
    StringBuilder into = new StringBuilder(text.length() + 8);
    ESCAPE.quoteAsString(text, into);
    return into.toString();
  }

  private static byte[] utf8(StringBuilder text) {
    return text.toString().getBytes(StandardCharsets.UTF_8);
  }
}
