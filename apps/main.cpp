// ropescope <command>: finds the command, parses its flags, turns errors into one sentence and an exit code.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <optional>

#include <fmt/format.h>

#include <ATen/Context.h>
#include <c10/util/Exception.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/core/version.h"

#include "command.h"

namespace ropescope::app {

namespace {

constexpr int kHelpWidth = 110;

po::options_description common_options() {
  po::options_description common("Common", kHelpWidth, kHelpWidth / 2);
  common.add_options()                                                                   //
      ("device", po::value<std::string>()->default_value("cpu"), "cpu, cuda or cuda:N")  //
      ("dtype", po::value<std::string>(),
       "auto, float32, bfloat16 or float16; unless given float32 on a CPU, auto on CUDA; auto is bfloat16 "
       "where "
       "the device has units for it, else float32")                                               //
      ("threads", po::value<int>()->default_value(0), "threads; 0 = all cores")                   //
      ("seed", po::value<uint64_t>()->default_value(0), "seed of every random choice")            //
      ("force", po::bool_switch(), "overwrite output files")                                      //
      ("json", po::bool_switch(), "JSON on stdout instead of a table")                            //
      ("csv", po::bool_switch(), "CSV on stdout instead of a table")                              //
      ("quiet", po::bool_switch(), "no progress or information on stderr")                        //
      ("config", po::value<std::string>(), "file of `flag = value` lines; flags given here win")  //
      ("help", po::bool_switch(), "this text");
  return common;
}

void print_overview() {
  fmt::print(
      "ropescope {}: what does a position encoding do to attention?\n\nusage: ropescope <command> "
      "[flags]\n\n",
      version());
  for (const Command& command : commands()) fmt::print("  {:<12}{}\n", command.name, command.summary);
  fmt::print("\n`ropescope <command> --help` explains a command; `ropescope --version` shows versions.\n");
}

void print_version() {
  fmt::print("ropescope {} (commit {})\nLibTorch {}\nCUDA {}\n", version(), commit(), libtorch_version(),
             at::globalContext().hasCUDA() ? "usable" : "not usable (this build or this machine has none)");
}

void print_help(const Command& command, const po::options_description& options) {
  std::cout << fmt::format("{}\n\nexample: {}\n\n", command.summary, command.example) << options
            << "\nexit codes: 0 done, 1 failed, 2 usage, 3 input, 4 environment (device, memory, disk), 5 "
               "non-finite "
               "numbers\n";
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

[[noreturn]] void unknown_flag(const std::string& flag, const po::options_description& options,
                               const std::string& where) {
  std::vector<std::string> names;
  for (const auto& option : options.options()) names.push_back(option->long_name());
  const std::string bare = flag.substr(std::min(flag.find_first_not_of('-'), flag.size()));
  const std::string near = nearest_name(bare, names);
  throw UsageError("unknown flag \"{}\"{}{}", flag, where,
                   near.empty() ? "; --help lists them" : fmt::format("; did you mean \"--{}\"?", near));
}

/// argv[0] is the name of the command.
po::variables_map parse_flags(int argc, char** argv, const po::options_description& options) {
  po::variables_map values;
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing &
                    ~po::command_line_style::allow_short;
  try {
    const po::positional_options_description no_positionals;
    const auto parsed = po::command_line_parser(argc, argv).options(options).style(style).run();
    for (const auto& option : parsed.options) {
      if (option.position_key >= 0 && options.find_nothrow("input", false) == nullptr) {
        throw UsageError("unexpected argument \"{}\"; flags start with --", option.value.front());
      }
    }
    if (options.find_nothrow("input", false) != nullptr) {
      po::positional_options_description positionals;
      positionals.add("input", -1);
      po::store(
          po::command_line_parser(argc, argv).options(options).positional(positionals).style(style).run(),
          values);
    } else {
      po::store(parsed, values);
    }
    if (values.count("config") > 0) {
      const std::string path = values["config"].as<std::string>();
      std::ifstream stream(path);
      if (!stream) throw InputError("--config {}: cannot be read", path);
      try {
        po::store(po::parse_config_file(stream, options), values);
      } catch (const po::unknown_option& error) {
        unknown_flag(error.get_option_name(), options, fmt::format(" in {}", path));
      }
    }
    po::notify(values);
  } catch (const po::unknown_option& error) {
    unknown_flag(error.get_option_name(), options, "");
  } catch (const po::error& error) {
    throw UsageError("{}", error.what());
  }
  return values;
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
  if (first == "--help" || first == "help" || first == "-h") {
    print_overview();
    return argc > 1 ? 0 : 2;
  }
  if (first == "--version" || first == "version") {
    print_version();
    return 0;
  }
  const Command& command = find_command(first);
  po::options_description options(fmt::format("Options of ropescope {}", command.name), kHelpWidth,
                                  kHelpWidth / 2);
  for (const auto& group : command.options()) options.add(group);
  options.add(common_options());
  Arguments arguments{parse_flags(argc - 1, argv + 1, options), quote_command_line(argc, argv)};
  if (arguments.flag("help")) {
    print_help(command, options);
    return 0;
  }
  return command.run(arguments);
}

int report(const std::string& message, int exit_code) {
  fmt::print(stderr, "ropescope: {}\n", message);
  return exit_code;
}

}  // namespace

}  // namespace ropescope::app

int main(int argc, char** argv) {
  using ropescope::app::report;
  try {
    return ropescope::app::dispatch(argc, argv);
  } catch (const ropescope::Error& error) {
    return report(error.what(), error.exit_code());
  } catch (const c10::OutOfMemoryError& error) {
    return report(fmt::format("out of device memory ({})", error.what_without_backtrace()), 4);
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    const bool memory = text.find("allocate") != std::string::npos;
    return report(memory ? "out of memory: " + text : "internal error in LibTorch: " + text, memory ? 4 : 1);
  } catch (const std::bad_alloc&) {
    return report("out of memory", 4);
  } catch (const std::exception& error) {
    return report(fmt::format("internal error: {}", error.what()), 1);
  }
}
