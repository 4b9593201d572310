import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.OffsetDateTime;

/**
 * What the fold asks of a campaign whose tasks begin by themselves in a fixed window, and where
 * every so many orders pay. Amounts are minor units, times ms since the epoch.
 */
record Campaign(
    String id,
    int version,
    String currency,
    Calendar calendar,
    long effectiveMs,
    long startMs,
    long endMs,
    long graceMs,
    int targetOrders,
    int limit,
    long minAmountMinor,
    int dailyCap,
    String rightId,
    String rightType,
    long valueMinor,
    int validDays) {

  /** Read a definition; one that asks for more than this peer folds is refused. */
  static Campaign read(Path file) throws IOException {
    JsonNode told = new ObjectMapper().readTree(file.toFile());
    JsonNode window = told.get("window");
    JsonNode qualify = told.get("qualify");
    JsonNode rewards = told.get("final_rewards");
    JsonNode right = rewards.get(0);
    boolean known =
        told.path("enrolment").asText().equals("auto")
            && window.path("mode").asText().equals("every_n")
            && window.hasNonNull("first_day")
            && told.get("calendar").path("day_start").asText("00:00").equals("00:00")
            && qualify.path("on").asText("paid").equals("paid")
            && qualify.path("basis").asText("consumption").equals("consumption")
            && rewards.size() == 1;
    for (String unknown :
        new String[] {
          "saved", "step_rewards", "lottery", "release", "audience", "holdout_bp", "variants",
          "budget", "exclusion_group", "rounds", "claim", "collect", "entries"
        }) {
      known &= !told.hasNonNull(unknown);
    }
    for (String unknown : new String[] {"categories", "channels", "stores"}) {
      known &= !qualify.hasNonNull(unknown);
    }
    if (!known) {
      throw new IllegalArgumentException(file + " asks for more than this peer folds");
    }
    Calendar calendar = new Calendar(told.get("calendar").get("time_zone").asText());
    LocalDate firstDay = LocalDate.parse(window.get("first_day").asText());
    int orders = told.get("target").get("orders").asInt();
    return new Campaign(
        told.get("campaign_id").asText(),
        told.get("version").asInt(),
        told.get("currency").asText(),
        calendar,
        OffsetDateTime.parse(told.get("effective_from").asText()).toInstant().toEpochMilli(),
        calendar.beginsMs(firstDay),
        calendar.beginsMs(firstDay.plusDays(window.get("days").asInt())),
        told.path("expiry").path("grace_hours").asLong(48) * 3_600_000L,
        orders,
        orders * window.path("max_cycles").asInt(1),
        qualify.path("min_amount_minor").asLong(0),
        qualify.path("daily_cap").asInt(1),
        right.get("right_id").asText(),
        right.get("type").asText(),
        right.get("value_minor").asLong(),
        right.path("valid_days").asInt(30));
  }
}
