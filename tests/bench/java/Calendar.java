import java.time.Instant;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.zone.ZoneRules;

/** Local days and RFC 3339 times of one zone; the last date is kept, it hardly ever changes. */
final class Calendar {
  static final long DAY_MS = 86_400_000L;

  private final ZoneRules rules;
  private final ZoneId zone;
  private long keptDay = Long.MIN_VALUE;
  private String keptDate = "";

  Calendar(String zone) {
    this.zone = ZoneId.of(zone);
    this.rules = this.zone.getRules();
  }

  long beginsMs(LocalDate day) {
    return day.atStartOfDay(zone).toInstant().toEpochMilli();
  }

  /** The local day of an instant, in days since 1970-01-01. */
  int day(long atMs) {
    return (int) Math.floorDiv(localMs(atMs, offset(atMs)), DAY_MS);
  }

  /** RFC 3339 with the zone's offset; milliseconds only where there are any. */
  String text(long atMs) {
    ZoneOffset offset = offset(atMs);
    long local = localMs(atMs, offset);
    long day = Math.floorDiv(local, DAY_MS);
    if (day != keptDay) {
      keptDay = day;
      keptDate = LocalDate.ofEpochDay(day).toString();
    }
    int ms = (int) Math.floorMod(local, DAY_MS);
    StringBuilder said = new StringBuilder(29).append(keptDate).append('T');
    two(said, ms / 3_600_000).append(':');
    two(said, ms / 60_000 % 60).append(':');
    two(said, ms / 1000 % 60);
    if (ms % 1000 != 0) {
      two(said.append('.').append((char) ('0' + ms % 1000 / 100)), ms % 100);
    }
    return said.append(offset.getTotalSeconds() == 0 ? "+00:00" : offset.getId()).toString();
  }

  /** RFC 3339 to ms: the usual layout by hand, any other by the library. */
  static long instantMs(String text) {
    boolean usual =
        text.length() == 29 && text.charAt(10) == 'T' && text.charAt(19) == '.'
            && text.charAt(26) == ':' && (text.charAt(23) == '+' || text.charAt(23) == '-');
    if (!usual) {
      return OffsetDateTime.parse(text).toInstant().toEpochMilli();
    }
    int month = number(text, 5, 7);
    long days = LocalDate.of(number(text, 0, 4), month, number(text, 8, 10)).toEpochDay();
    long seconds =
        number(text, 11, 13) * 3600L + number(text, 14, 16) * 60L + number(text, 17, 19);
    long offset = number(text, 24, 26) * 3600L + number(text, 27, 29) * 60L;
    seconds -= text.charAt(23) == '+' ? offset : -offset;
    return days * DAY_MS + seconds * 1000 + number(text, 20, 23);
  }

  private ZoneOffset offset(long atMs) {
    return rules.isFixedOffset()
        ? rules.getOffset(Instant.EPOCH)
        : rules.getOffset(Instant.ofEpochMilli(atMs));
  }

  private static long localMs(long atMs, ZoneOffset offset) {
    return atMs + offset.getTotalSeconds() * 1000L;
  }

  private static StringBuilder two(StringBuilder said, int number) {
    return said.append((char) ('0' + number / 10)).append((char) ('0' + number % 10));
  }

  private static int number(String text, int from, int to) {
    int value = 0;
    for (int i = from; i < to; i++) {
      int digit = text.charAt(i) - '0';
      if (digit < 0 || digit > 9) {
        throw new IllegalArgumentException("not a time: " + text);
      }
      value = value * 10 + digit;
    }
    return value;
  }
}
