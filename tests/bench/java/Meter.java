import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/**
 * How many orders were taken, and from when to when: from the first one to the end of the last
 * commit. Written by the stream thread, read when it has ended.
 */
final class Meter {
  long rejected, known, conflicts;
  private long processed, committed, transactions, firstMs, lastMs;

  void took() {
    if (processed++ == 0) {
      firstMs = System.currentTimeMillis();
    }
  }

  void committed() {
    if (processed > committed) { // else nothing was folded since
      committed = processed;
      transactions++;
      lastMs = System.currentTimeMillis();
    }
  }

  /** Replace the file whole, so that no reader sees half of it. */
  void write(Path file) throws IOException {
    String json =
        """
        {"processed": %d, "rejected": %d, "known": %d, "conflicts": %d, "transactions": %d,
         "first_ms": %d, "last_ms": %d}
        """
            .formatted(committed, rejected, known, conflicts, transactions, firstMs, lastMs);
    Path partial = file.resolveSibling(file.getFileName() + ".partial");
    Files.writeString(partial, json);
    Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE);
  }
}
