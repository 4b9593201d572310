import java.util.ArrayList;
import java.util.List;

/**
 * The fold: one order of one user in, the new row and what it changes for that user out.
 *
 * <p>An order later than all others only adds to the task; any other is put among the known ones
 * and all of them are counted again. Both say what streams/domain/fold.py says, byte for byte.
 */
final class Fold {
  private final Campaign campaign;
  private final Announcer say;

  Fold(Campaign campaign) {
    this.campaign = campaign;
    this.say = new Announcer(campaign);
  }

  /** Put an order that the row does not know into it; return what there is to say. */
  List<Said> step(Row row, Order order) {
    byte code = Tally.weigh(campaign, order);
    Row.Fact fact =
        new Row.Fact(
            order.atMs, order.recordedMs, order.contentHash, order.consumptionMinor, code,
            order.idBytes, order.parts);
    say.about(order);
    // An order that begins the task makes the ones before it the task's: they are counted again.
    boolean begins = row.rev == 0 && Tally.begins(campaign, fact);
    if (row.isNewest(fact.atMs(), fact.id()) && (!begins || row.isEmpty())) {
      return append(row, order, fact);
    }
    return recount(row, fact);
  }

  private List<Said> append(Row row, Order order, Row.Fact fact) {
    row.append(fact);
    List<Said> said = new ArrayList<>(3);
    if (row.rev == 0 && !Tally.begins(campaign, fact)) {
      said.add(say.order(order.id, Tally.NO_TASK, null));
      return said;
    }
    Tally tally = new Tally(campaign, row);
    byte code = tally.add(fact);
    progress(row, tally, said);
    if (code != Tally.COUNTS) {
      said.add(say.order(order.id, code, row));
    } else {
      reward(row, row.counted, fact, said);
    }
    return said;
  }

  private List<Said> recount(Row row, Row.Fact fact) {
    List<Row.Fact> known = row.facts();
    byte[] before = new Tally(campaign).addAll(known);
    int at = 0;
    while (at < known.size() && known.get(at).before(fact.atMs(), fact.id())) {
      at++;
    }
    known.add(at, fact);
    row.replace(known);
    Tally tally = new Tally(campaign);
    byte[] now = tally.addAll(known);
    List<Said> said = new ArrayList<>();
    if (tally.counted > 0) {
      progress(row, tally, said);
    }
    List<Said> loose = new ArrayList<>();
    for (int i = 0; i < now.length; i++) {
      boolean news = i == at || before[i < at ? i : i - 1] != now[i];
      if (now[i] != Tally.COUNTS && news) {
        (now[i] == Tally.NO_TASK ? loose : said).add(say.order(known.get(i).name(), now[i], row));
      }
    }
    said.addAll(loose);
    for (int step = row.paidStep + 1; step <= tally.counted; step++) {
      reward(row, step, tally.steps.get(step - 1), said);
    }
    return said;
  }

  /** Take the tally into the row and say how the task moved. */
  private void progress(Row row, Tally tally, List<Said> said) {
    boolean begun = row.rev == 0;
    boolean moved = tally.counted != row.counted;
    boolean completed = tally.completedMs != 0 && row.completedMs == 0;
    row.rev += (begun ? 1 : 0) + (moved ? 1 : 0) + (completed ? 1 : 0);
    row.counted = tally.counted;
    row.lastDay = tally.lastDay;
    row.lastDayCount = tally.lastDayCount;
    row.accumulatedMinor = tally.accumulatedMinor;
    row.completedMs = tally.completedMs;
    if (begun) {
      said.add(say.task("task.claimed", row));
    }
    if (moved) {
      said.add(say.task("task.advanced", row));
    }
    if (completed) {
      said.add(say.task("task.completed", row));
    }
  }

  private void reward(Row row, int step, Row.Fact by, List<Said> said) {
    if (step > row.paidStep && step % campaign.targetOrders() == 0) {
      row.paidStep = step;
      said.add(say.reward(step, by.name()));
    }
  }
}
