// ropescope <command>: finds the command, parses its flags, turns errors into one sentence and an exit code.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string_view>

#include <fmt/format.h>

#include <ATen/Context.h>
#include <c10/util/Exception.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/core/version.h"

#include "command.h"

namespace ropescope::app {

namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done, 1 failed, 2 usage, 3 input, 4 environment (device, memory, disk), 5 non-finite numbers.";

void print_overview() {
  fmt::print(
      "ropescope {}: what does a position encoding do to attention?\n\nusage: ropescope <command> "
      "[flags]\n\n",
      version());
  for (const Command& command : commands()) fmt::print("  {:<12}{}\n", command.name, command.summary);
  fmt::print(
      "\n`ropescope help COMMAND` explains a command and shows an example; `ropescope --version` shows versions.\n"
      "Results go to stdout, words to stderr. {}\n",
      kExitCodes);
}

void print_version() {
  fmt::print("ropescope {} (commit {})\nLibTorch {}\nCUDA {}\n", version(), commit(), libtorch_version(),
             at::globalContext().hasCUDA() ? "usable" : "not usable (this build or this machine has none)");
}

void print_help(const Command& command, const Flags& flags) {
  fmt::print("{}\n\nusage: ropescope {} [flags]\nexample: {}\n\n{}\n{}\n", command.summary, command.name,
             command.example, flags.help(), kExitCodes);
}

const Command& find_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (command.name == name) return command;
    names.push_back(command.name);
  }
  const std::string near = nearest_name(name, names);
  throw UsageError("unknown command \"{}\"{}; `ropescope --help` lists them", name,
                   near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
}

std::string quote_command_line(int argc, char** argv) {
  std::string line = "ropescope";
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain = !word.empty() && word.find_first_of(" \t\n'\"\\$`&|;<>()*?#!") == std::string::npos;
    std::string quoted;
    for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += plain ? " " + word : " '" + quoted + "'";
  }
  return line;
}

int dispatch(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "--help";
  const bool asks_help = first == "--help" || first == "help" || first == "-h";
  if (asks_help && argc < 3) {
    print_overview();
    return argc > 1 ? 0 : 2;
  }
  if (first == "--version" || first == "version") {
    print_version();
    return 0;
  }
  const Command& command = find_command(asks_help ? argv[2] : first);
  Flags flags;
  CommonFlags common;
  const BoundCommand bound = bind_command(command, flags, common);
  // The only short flag.
  std::vector<const char*> words(argv + 1, argv + argc);
  for (const char*& word : words) {
    if (std::string_view(word) == "-h") word = "--help";
  }
  if (!asks_help) flags.parse(static_cast<int>(words.size()), words.data(), "config", "help");
  if (asks_help || common.help) {
    print_help(command, flags);
    return 0;
  }
  const CommonSettings settings = common_settings(common);
  flags.translate();
  return bound.run({flags, common, settings, quote_command_line(argc, argv)});
}

int fail(const std::string& message, int exit_code) {
  fmt::print(stderr, "ropescope: {}\n", message);
  return exit_code;
}

}  // namespace

}  // namespace ropescope::app

int main(int argc, char** argv) {
  using ropescope::app::fail;
  try {
    return ropescope::app::dispatch(argc, argv);
  } catch (const ropescope::Error& error) {
    return fail(error.what(), error.exit_code());
  } catch (const c10::OutOfMemoryError& error) {
    return fail(fmt::format("out of device memory ({})", error.what_without_backtrace()), 4);
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    const bool memory = text.find("allocate") != std::string::npos;
    return fail(memory ? "out of memory: " + text : "internal error in LibTorch: " + text, memory ? 4 : 1);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", 4);
  } catch (const std::exception& error) {
    return fail(fmt::format("internal error: {}", error.what()), 1);
  }
}
