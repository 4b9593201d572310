import java.util.ArrayList;
import java.util.List;

/** Which orders count: at most so many a day, until the target is met; the rest say why not. */
final class Tally {
  static final byte COUNTS = 0, CURRENCY = 1, MIN_AMOUNT = 2, LATE = 3, SPARE = 4, NO_TASK = 5;
  static final String[] CODES = {"", "CURRENCY", "MIN_AMOUNT", "LATE", "SPARE", "NO_TASK"};

  int counted;
  int lastDay = Integer.MIN_VALUE;
  int lastDayCount;
  long accumulatedMinor;
  long completedMs;
  final List<Row.Fact> steps = new ArrayList<>();

  private final Campaign campaign;

  Tally(Campaign campaign) {
    this.campaign = campaign;
  }

  /** Go on from where a row's task stands. */
  Tally(Campaign campaign, Row row) {
    this(campaign);
    counted = row.counted;
    lastDay = row.lastDay;
    lastDayCount = row.lastDayCount;
    accumulatedMinor = row.accumulatedMinor;
    completedMs = row.completedMs;
  }

  /** What an order is to the campaign, before it is counted. */
  static byte weigh(Campaign campaign, Order order) {
    if (order.recordedMs > campaign.endMs() + campaign.graceMs()) {
      return LATE;
    }
    if (!order.currency.equals(campaign.currency())) {
      return CURRENCY;
    }
    return order.consumptionMinor < campaign.minAmountMinor() ? MIN_AMOUNT : COUNTS;
  }

  static boolean begins(Campaign campaign, Row.Fact fact) {
    return fact.code() == COUNTS && holds(campaign, fact) && fact.atMs() >= campaign.effectiveMs();
  }

  private static boolean holds(Campaign campaign, Row.Fact fact) {
    return campaign.startMs() <= fact.atMs() && fact.atMs() < campaign.endMs();
  }

  /** Take the next order by (time, id) to a task; say what became of it. */
  byte add(Row.Fact fact) {
    if (!holds(campaign, fact)) {
      return NO_TASK;
    }
    if (fact.code() != COUNTS) {
      return fact.code();
    }
    int day = campaign.calendar().day(fact.atMs());
    boolean full = campaign.dailyCap() > 0 && day == lastDay && lastDayCount >= campaign.dailyCap();
    if (completedMs != 0 || full) {
      return SPARE;
    }
    lastDayCount = day == lastDay ? lastDayCount + 1 : 1;
    lastDay = day;
    counted++;
    accumulatedMinor += fact.spentMinor();
    steps.add(fact);
    if (counted >= campaign.limit()) {
      completedMs = fact.atMs();
    }
    return COUNTS;
  }

  /** Count all orders from nothing; return what became of each. */
  byte[] addAll(List<Row.Fact> sorted) {
    boolean begun = sorted.stream().anyMatch(fact -> begins(campaign, fact));
    byte[] codes = new byte[sorted.size()];
    for (int i = 0; i < codes.length; i++) {
      codes[i] = begun ? add(sorted.get(i)) : NO_TASK;
    }
    return codes;
  }
}
