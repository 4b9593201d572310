import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/**
 * How many orders were taken, from when to when, and for how much processor time of the process:
 * from the first one to the end of the last commit. Written by the stream thread, read when it has
 * ended.
 */
final class Meter {
  private static final OperatingSystemMXBean PROCESS =
      (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

  long rejected, known, conflicts;
  private long processed, committed, transactions, firstMs, lastMs, firstCpu, lastCpu;

  void took() {
    if (processed++ == 0) {
      firstMs = System.currentTimeMillis();
      firstCpu = PROCESS.getProcessCpuTime();
    }
  }

  void committed() {
    if (processed > committed) { // else nothing was folded since
      committed = processed;
      transactions++;
      lastMs = System.currentTimeMillis();
      lastCpu = PROCESS.getProcessCpuTime();
    }
  }

  /** Replace the file whole, so that no reader sees half of it. */
  void write(Path file) throws IOException {
    String json =
        """
        {"processed": %d, "rejected": %d, "known": %d, "conflicts": %d, "transactions": %d,
         "first_ms": %d, "last_ms": %d, "cpu_s": %.3f}
        """
            .formatted(
                committed, rejected, known, conflicts, transactions, firstMs, lastMs,
                (lastCpu - firstCpu) / 1e9);
    Path partial = file.resolveSibling(file.getFileName() + ".partial");
    Files.writeString(partial, json);
    Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE);
  }
}
