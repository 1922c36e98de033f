// ropescope-miniature <prepare | text | train | table | fading>: the steps of experiments/miniature/run.sh and
// experiments/open-questions/run.sh; draw: pictures alone.
#include <algorithm>
#include <iostream>

#include <fmt/format.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

#include "apps/flags.h"
#include "steps/step.h"

namespace ropescope::miniature {

namespace {

using app::Flags;

const std::vector<Step>& steps() {
  static const std::vector<Step> all = {prepare_step(), text_step(),   train_step(),
                                        table_step(),   fading_step(), draw_step()};
  return all;
}

struct CommonFlags {
  int64_t threads = 1;
  bool quiet = false, help = false;

  void bind(Flags& flags) {
    flags.group("All of them");
    flags.add("threads", threads, "of LibTorch").at_least(0);
    flags.add("quiet", quiet, "no progress");
    flags.add("help", help, "this text");
  }
};

std::function<int()> bind_step(const Step& step, Flags& flags) {
  flags.group(fmt::format("{}: {}", step.name, step.summary));
  return step.bind(flags);
}

void print_help() {
  std::cout << "ropescope-miniature prepare | text | train | table | fading | draw [flags]\n";
  for (const Step& step : steps()) {
    Flags flags;
    bind_step(step, flags);
    std::cout << flags.help();
  }
  Flags flags;
  CommonFlags common;
  common.bind(flags);
  std::cout << flags.help();
}

int dispatch(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "--help";
  if (name == "--help") {
    print_help();
    return argc > 1 ? 0 : 2;
  }
  const auto step =
      std::find_if(steps().begin(), steps().end(), [&](const Step& known) { return known.name == name; });
  if (step == steps().end()) {
    throw UsageError("expected prepare, text, train, table, fading or draw, found \"{}\"", name);
  }
  Flags flags;
  const std::function<int()> run = bind_step(*step, flags);
  CommonFlags common;
  common.bind(flags);
  flags.parse(argc - 1, argv + 1, /*config=*/"", /*skip_checks=*/"help");
  if (common.help) {
    std::cout << flags.help();
    return 0;
  }
  set_threads(static_cast<int>(common.threads));
  set_quiet(common.quiet);
  return run();
}

}  // namespace

}  // namespace ropescope::miniature

int main(int argc, char** argv) {
  try {
    return ropescope::miniature::dispatch(argc, argv);
  } catch (const ropescope::Error& error) {
    fmt::print(stderr, "ropescope-miniature: {}\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    fmt::print(stderr, "ropescope-miniature: internal error: {}\n", error.what());
    return 1;
  }
}
