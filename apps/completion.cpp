// ropescope completion: what a shell needs to complete commands, flags and their words, from the flags themselves.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"

#include "command.h"

namespace ropescope::app {

namespace completion {

namespace {

struct CompletionFlags {
  std::vector<std::string> shell;

  void bind(Flags& flags) {
    flags.group("Completion");
    flags.add("shell", shell, "bash, zsh or fish; may stand without the flag's name")
        .one_of({"bash", "zsh", "fish"})
        .positional()
        .required();
  }
};

struct CommandWords {
  std::string name, summary;
  std::vector<FlagName> flags;
};

std::vector<CommandWords> all_words() {
  std::vector<CommandWords> all;
  for (const Command& command : commands()) {
    Flags flags;
    CommonFlags common;
    const BoundCommand bound = bind_command(command, flags, common);
    all.push_back({command.name, command.summary, flags.names()});
  }
  return all;
}

std::string names_of(const std::vector<CommandWords>& all) {
  std::string names = "help";
  for (const CommandWords& command : all) names += " " + command.name;
  return names;
}

/// The text with a backslash before each of `special`, between single quotes of a shell.
std::string quoted(const std::string& text, const std::string& special, const std::string& inner_quote) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') {
      result += inner_quote;
    } else {
      if (special.find(c) != std::string::npos) result += '\\';
      result += c;
    }
  }
  return result + "'";
}

void print_bash(const std::vector<CommandWords>& all) {
  fmt::print(
      "# bash completion of ropescope: source it, or keep it as\n"
      "# ~/.local/share/bash-completion/completions/ropescope\n"
      "_ropescope() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command=${{COMP_WORDS[1]}}\n"
      "  local words=''\n"
      "  if [ \"$COMP_CWORD\" = 1 ] || {{ [ \"$COMP_CWORD\" = 2 ] && [ \"$command\" = help ]; }}; then\n"
      "    words='{}'\n"
      "  else\n"
      "    case \"$command $before\" in\n",
      names_of(all));
  for (const CommandWords& command : all) {
    for (const FlagName& flag : command.flags) {
      if (flag.words.empty()) continue;
      fmt::print("      '{} --{}'{}) words='{}' ;;\n", command.name, flag.name,
                 flag.stands_alone ? fmt::format(" | '{0} {0}'", command.name) : "",
                 fmt::join(flag.words, " "));
    }
  }
  fmt::print(
      "    esac\n"
      "    if [ -z \"$words\" ] && [ \"${{word:0:1}}\" = - ]; then\n"
      "      case $command in\n");
  for (const CommandWords& command : all) {
    std::string flags;
    for (const FlagName& flag : command.flags) flags += (flags.empty() ? "--" : " --") + flag.name;
    fmt::print("        {}) words='{}' ;;\n", command.name, flags);
  }
  fmt::print(
      "      esac\n"
      "    fi\n"
      "  fi\n"
      "  # Nothing found: the shell completes names of files.\n"
      "  COMPREPLY=()\n"
      "  [ -z \"$words\" ] || mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
      "}}\n"
      "complete -o default -F _ropescope ropescope\n");
}

void print_zsh(const std::vector<CommandWords>& all) {
  fmt::print(
      "#compdef ropescope\n"
      "# zsh completion of ropescope: keep it as _ropescope in a folder of $fpath.\n"
      "_ropescope() {{\n"
      "  local -a commands=(\n");
  for (const CommandWords& command : all) {
    fmt::print("    {}\n", quoted(command.name + ":" + command.summary, "", "'\\''"));
  }
  fmt::print(
      "    'help:Explains a command.'\n"
      "  )\n"
      "  if (( CURRENT == 2 )) || [[ CURRENT -eq 3 && $words[2] == help ]]; then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  local command=$words[2]\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $command in\n");
  for (const CommandWords& command : all) {
    fmt::print("    {})\n      _arguments", command.name);
    for (const FlagName& flag : command.flags) {
      const std::string values =
          flag.words.empty() ? "_files" : fmt::format("({})", fmt::join(flag.words, " "));
      // The square brackets hold the help, a colon ends a part.
      const std::string help = quoted(flag.help, "[]:\\", "'\\''");
      fmt::print(" \\\n        '{}--{}['{}']{}'", flag.repeats ? "*" : "", flag.name, help,
                 flag.is_switch ? "" : ":value:" + values);
      if (flag.stands_alone) fmt::print(" \\\n        '*:value:{}'", values);
    }
    fmt::print(" ;;\n");
  }
  fmt::print(
      "  esac\n"
      "}}\n"
      "# Called by the completion system, or sourced.\n"
      "if [[ $funcstack[1] == _ropescope ]]; then _ropescope \"$@\"; else compdef _ropescope ropescope; fi\n");
}

void print_fish(const std::vector<CommandWords>& all) {
  fmt::print(
      "# fish completion of ropescope: keep it as ~/.config/fish/completions/ropescope.fish\n"
      "complete -c ropescope -n __fish_use_subcommand -f -a help -d 'Explains a command.'\n"
      "complete -c ropescope -n '__fish_seen_subcommand_from help' -f -a '{}'\n",
      names_of(all));
  for (const CommandWords& command : all) {
    const std::string seen = fmt::format("-n '__fish_seen_subcommand_from {}'", command.name);
    fmt::print("complete -c ropescope -n __fish_use_subcommand -f -a {} -d {}\n", command.name,
               quoted(command.summary, "\\", "\\'"));
    for (const FlagName& flag : command.flags) {
      const std::string words = fmt::format("{}", fmt::join(flag.words, " "));
      const std::string value = flag.is_switch  ? ""
                                : words.empty() ? " -r"
                                                : fmt::format(" -x -a '{}'", words);
      fmt::print("complete -c ropescope {} -l {}{} -d {}\n", seen, flag.name, value,
                 quoted(flag.help, "\\", "\\'"));
      if (flag.stands_alone && !words.empty())
        fmt::print("complete -c ropescope {} -f -a '{}'\n", seen, words);
    }
  }
}

int run(const CompletionFlags& flags, const Invocation&) {
  if (flags.shell.size() != 1) {
    throw UsageError("expected one shell (bash, zsh or fish), found {}", flags.shell.size());
  }
  const std::vector<CommandWords> all = all_words();
  const std::string& shell = flags.shell.front();
  if (shell == "bash") print_bash(all);
  if (shell == "zsh") print_zsh(all);
  if (shell == "fish") print_fish(all);
  return 0;
}

}  // namespace

}  // namespace completion

extern const Command kCompletion;
const Command kCompletion = make_command<completion::CompletionFlags>(
    "completion", "Prints a script with which bash, zsh or fish completes commands, flags and their words.",
    "ropescope completion bash", kPlain, completion::run);

}  // namespace ropescope::app
