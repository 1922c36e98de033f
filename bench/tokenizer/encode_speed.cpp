// ropescope's side of bench/tokenizer/run.sh: encodes every document of a corpus on one thread, several
// times.
//   tokenizer_speed MODEL CORPUS REPEATS      one JSON object on stdout; times are CPU seconds of this thread
#include <ctime>
#include <exception>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/text/corpus.h"
#include "ropescope/text/tokenizer.h"

namespace {

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: tokenizer_speed MODEL CORPUS REPEATS\n");
    return 2;
  }
  try {
    const double before_load = cpu_seconds();
    const auto tokenizer = ropescope::load_tokenizer(argv[1]);
    const double load = cpu_seconds() - before_load;
    std::vector<std::string> texts;
    size_t bytes = 0;
    ropescope::visit_documents(argv[2], ropescope::CorpusForm::kAuto,
                               [&](const ropescope::Document& document) {
                                 texts.push_back(document.text);
                                 bytes += document.text.size();
                                 return true;
                               });
    std::vector<double> seconds;
    size_t tokens = 0;
    uint64_t checksum = 0;
    const int repeats = std::stoi(argv[3]);
    for (int i = 0; i < repeats; ++i) {
      tokens = 0;
      checksum = 0;
      const double start = cpu_seconds();
      for (const std::string& text : texts) {
        for (const int64_t id : tokenizer->encode(text, {false, false})) {
          checksum = checksum * 31 + static_cast<uint64_t>(id);
          ++tokens;
        }
      }
      seconds.push_back(cpu_seconds() - start);
    }
    fmt::print(
        "{{\"texts\":{},\"bytes\":{},\"tokens\":{},\"checksum\":{},\"load_seconds\":{:.4f},\"seconds\":[{:."
        "5f}]}}\n",
        texts.size(), bytes, tokens, checksum, load, fmt::join(seconds, ","));
  } catch (const std::exception& error) {
    fmt::print(stderr, "tokenizer_speed: {}\n", error.what());
    return 1;
  }
  return 0;
}
