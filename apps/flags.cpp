#include "flags.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"

#include "flag_text.h"

namespace ropescope::app {

namespace {

namespace po = boost::program_options;

constexpr int kHelpWidth = 110;
constexpr int kDescriptionWidth = 55;

// What a flag's text becomes, by the field's type.
void convert(const std::string& flag, const std::string& text, std::string& field) {
  (void)flag;
  field = text;
}
void convert(const std::string& flag, const std::string& text, int64_t& field) {
  field = parse_whole(text, flag);
}
void convert(const std::string& flag, const std::string& text, uint64_t& field) {
  field = parse_natural(text, flag);
}
void convert(const std::string& flag, const std::string& text, double& field) {
  field = parse_real(text, flag);
}
void convert(const std::string& flag, const std::string& text, std::vector<int64_t>& field) {
  field = parse_integer_list(text, flag);
}
void convert(const std::string& flag, const std::string& text, std::vector<double>& field) {
  field = parse_number_list(text, flag);
}
template <typename T>
void convert(const std::string& flag, const std::string& text, std::optional<T>& field) {
  T value{};
  convert(flag, text, value);
  field = value;
}

template <typename T>
constexpr bool kIsNumber = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;

// Every number of a field, for its bounds.
template <typename T, typename Visit>
void visit_numbers(const T& field, const Visit& visit) {
  if constexpr (kIsNumber<T>) visit(static_cast<double>(field));
}
template <typename T, typename Visit>
void visit_numbers(const std::vector<T>& field, const Visit& visit) {
  for (const T& value : field) visit_numbers(value, visit);
}
template <typename T, typename Visit>
void visit_numbers(const std::optional<T>& field, const Visit& visit) {
  if (field) visit_numbers(*field, visit);
}

// The default as help shows it; nothing where a field says "not given" by being empty.
std::string default_of(const std::string& field) { return field; }
template <typename T>
std::string default_of(const T& number) {
  return fmt::format("{}", number);
}
template <typename T>
std::string default_of(const std::vector<T>& list) {
  return fmt::format("{}", fmt::join(list, ","));
}
template <typename T>
std::string default_of(const std::optional<T>&) {
  return "";
}

template <typename T>
Json json_of(const T& field) {
  return field;
}
template <typename T>
Json json_of(const std::optional<T>& field) {
  return field ? Json(*field) : Json(nullptr);
}

std::string bare_name(const std::string& flag) {
  std::string bare = flag.substr(std::min(flag.find_first_not_of('-'), flag.size()));
  return bare.substr(0, bare.find('='));
}

[[noreturn]] void unknown_flag(const std::string& flag, const std::vector<std::string>& names,
                               const std::string& where) {
  const std::string near = nearest_name(bare_name(flag), names);
  throw UsageError("unknown flag \"{}\"{}{}", flag, where,
                   near.empty() ? "; --help lists them" : fmt::format("; did you mean \"--{}\"?", near));
}

// Boost's message without its quotes and dashes of another style.
std::string sentence_of(const po::error& error) {
  if (const auto* option = dynamic_cast<const po::error_with_option_name*>(&error)) {
    const std::string name = bare_name(option->get_option_name());
    if (dynamic_cast<const po::multiple_occurrences*>(&error) != nullptr) {
      return fmt::format("--{}: expected once, found several times", name);
    }
    if (const auto* syntax = dynamic_cast<const po::invalid_syntax*>(&error)) {
      switch (syntax->kind()) {
        case po::invalid_syntax::missing_parameter:
        case po::invalid_syntax::empty_adjacent_parameter:
          return fmt::format("--{}: expected a value, found none", name);
        case po::invalid_syntax::extra_parameter:
          return fmt::format("--{}: expected no value, since it is a switch", name);
        default:
          break;
      }
    }
  }
  return error.what();
}

}  // namespace

Flag& Flag::required() { return must = true, *this; }
Flag& Flag::at_least(double bound) { return low = bound, *this; }
Flag& Flag::at_most(double bound) { return high = bound, *this; }
Flag& Flag::above(double bound) { return greater_than = bound, *this; }
Flag& Flag::one_of(std::vector<std::string> list) { return words = std::move(list), *this; }
Flag& Flag::alias(std::string other) { return aliased = std::move(other), *this; }
Flag& Flag::shown_default(std::string text) { return default_text = std::move(text), *this; }
Flag& Flag::positional() { return stands_alone = true, *this; }
Flag& Flag::suffices() {
  alone = true;
  return *this;
}
Flag& Flag::multitoken() { return several = true, *this; }
Flag& Flag::stands_for(std::function<std::string(const std::string&)> function) {
  return meaning = std::move(function), *this;
}

Flags::Flags() = default;
Flags::~Flags() = default;

void Flags::group(std::string title, bool shown) {
  group_ = std::move(title);
  shown_ = shown;
}

Flag& Flags::declare(std::string name, std::string help) {
  if (find(name) != nullptr) throw InternalError("flag --{} is declared twice", name);
  flags_.push_back(std::make_unique<Flag>());
  Flag& flag = *flags_.back();
  flag.name = std::move(name);
  flag.help = std::move(help);
  flag.group = group_;
  flag.shown = shown_;
  return flag;
}

template <typename T>
Flag& Flags::bind(std::string name, T& field, std::string help) {
  Flag& flag = declare(std::move(name), std::move(help));
  if (const std::string text = default_of(field); !text.empty()) flag.default_text = text;
  flag.take = [&field](const Flag& self, const std::vector<std::string>& texts) {
    convert(self.name, texts.back(), field);
    visit_numbers(field, [&self](double value) {
      if (self.low && !(value >= *self.low)) {
        throw UsageError("--{}: expected at least {:.15g}, found {:.15g}", self.name, *self.low, value);
      }
      if (self.high && !(value <= *self.high)) {
        throw UsageError("--{}: expected at most {:.15g}, found {:.15g}", self.name, *self.high, value);
      }
      if (self.greater_than && !(value > *self.greater_than)) {
        throw UsageError("--{}: expected more than {:.15g}, found {:.15g}", self.name, *self.greater_than,
                         value);
      }
    });
  };
  flag.value = [&field] { return json_of(field); };
  return flag;
}

Flag& Flags::add(std::string name, std::string& field, std::string help) {
  return bind(std::move(name), field, std::move(help));
}
Flag& Flags::add(std::string name, int64_t& field, std::string help) {
  return bind(std::move(name), field, std::move(help));
}
Flag& Flags::add(std::string name, uint64_t& field, std::string help) {
  return bind(std::move(name), field, std::move(help));
}
Flag& Flags::add(std::string name, double& field, std::string help) {
  return bind(std::move(name), field, std::move(help));
}
Flag& Flags::add(std::string name, std::vector<int64_t>& field, std::string help) {
  return bind(std::move(name), field, std::move(help));
}
Flag& Flags::add(std::string name, std::vector<double>& field, std::string help) {
  return bind(std::move(name), field, std::move(help));
}
Flag& Flags::add(std::string name, std::optional<std::string>& field, std::string help) {
  return bind(std::move(name), field, std::move(help));
}
Flag& Flags::add(std::string name, std::optional<int64_t>& field, std::string help) {
  return bind(std::move(name), field, std::move(help));
}
Flag& Flags::add(std::string name, std::optional<uint64_t>& field, std::string help) {
  return bind(std::move(name), field, std::move(help));
}
Flag& Flags::add(std::string name, std::optional<double>& field, std::string help) {
  return bind(std::move(name), field, std::move(help));
}

Flag& Flags::add(std::string name, bool& field, std::string help) {
  Flag& flag = declare(std::move(name), std::move(help));
  flag.is_switch = true;
  flag.take = [&field](const Flag&, const std::vector<std::string>& texts) { field = texts.back() == "1"; };
  flag.value = [&field] { return Json(field); };
  return flag;
}

Flag& Flags::add(std::string name, std::vector<std::string>& field, std::string help) {
  Flag& flag = declare(std::move(name), std::move(help));
  flag.repeats = true;
  flag.take = [&field](const Flag&, const std::vector<std::string>& texts) { field = texts; };
  flag.value = [&field] { return Json(field); };
  return flag;
}

const Flag* Flags::find(const std::string& name) const {
  for (const auto& flag : flags_) {
    if (flag->name == name || (!flag->aliased.empty() && flag->aliased == name)) return flag.get();
  }
  return nullptr;
}

namespace {

po::value_semantic* semantics(bool is_switch, bool repeats, bool several,
                              const std::optional<std::string>& default_text) {
  if (is_switch) return po::bool_switch();
  if (repeats) {
    auto* list = po::value<std::vector<std::string>>()->composing();
    return several ? list->multitoken() : list;
  }
  auto* text = po::value<std::string>();
  // The default is only shown: the field has it already.
  return default_text && !default_text->empty() ? text->default_value("", *default_text) : text;
}

}  // namespace

namespace {

/// What was said under a flag's name or its other name; empty: nothing.
std::vector<std::string> texts_of(const std::string& name, const std::string& aliased, bool is_switch,
                                  bool repeats, const po::variables_map& values) {
  std::vector<std::string> texts;
  for (const std::string& said : {name, aliased}) {
    if (said.empty() || values.count(said) == 0 || values[said].defaulted()) continue;
    if (!texts.empty()) throw UsageError("--{} and --{}: expected only one of the two", name, aliased);
    if (is_switch) {
      texts = {values[said].as<bool>() ? "1" : "0"};
    } else if (repeats) {
      texts = values[said].as<std::vector<std::string>>();
    } else {
      texts = {values[said].as<std::string>()};
    }
  }
  return texts;
}

}  // namespace

void Flags::parse(int argc, const char* const* argv, const std::string& config,
                  const std::string& skip_checks) {
  po::options_description options;
  std::vector<std::string> names;
  po::positional_options_description positionals;
  bool takes_words = false;
  for (const auto& flag : flags_) {
    for (const std::string& name : {flag->name, flag->aliased}) {
      if (name.empty()) continue;
      options.add_options()(name.c_str(),
                            semantics(flag->is_switch, flag->repeats, flag->several, std::nullopt));
      names.push_back(name);
    }
    if (flag->stands_alone) {
      positionals.add(flag->name.c_str(), -1);
      takes_words = true;
    }
  }
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing &
                    ~po::command_line_style::allow_short;
  po::variables_map values, of_file;
  try {
    auto parser = po::command_line_parser(argc, argv).options(options).style(style);
    if (takes_words) parser.positional(positionals);
    const auto parsed = parser.run();
    for (const auto& option : parsed.options) {
      if (option.position_key >= 0 && !takes_words) {
        throw UsageError("unexpected argument \"{}\"; flags start with --", option.value.front());
      }
    }
    po::store(parsed, values);
    if (!config.empty() && values.count(config) > 0) {
      const std::string path = values[config].as<std::string>();
      std::ifstream stream(path);
      if (!stream) throw InputError("--{} {}: cannot be read", config, path);
      try {
        po::store(po::parse_config_file(stream, options), of_file);
      } catch (const po::unknown_option& error) {
        unknown_flag(error.get_option_name(), names, fmt::format(" in {}", path));
      }
    }
    po::notify(values);
  } catch (const po::unknown_option& error) {
    unknown_flag(error.get_option_name(), names, "");
  } catch (const po::error& error) {
    throw UsageError("{}", sentence_of(error));
  }
  for (const auto& flag : flags_) {
    const auto said_in = [&flag](const po::variables_map& source) {
      return texts_of(flag->name, flag->aliased, flag->is_switch, flag->repeats, source);
    };
    std::vector<std::string> texts = said_in(values);
    // Lists too: what the command line says stands in place of the file's, not beside it.
    if (texts.empty()) texts = said_in(of_file);
    if (texts.empty()) continue;
    flag->given = !flag->is_switch || texts.back() == "1";
    for (const std::string& text : texts) {
      if (!flag->words.empty() &&
          std::find(flag->words.begin(), flag->words.end(), text) == flag->words.end()) {
        throw UsageError("--{}: expected {}, found \"{}\"", flag->name, one_of_these(flag->words), text);
      }
    }
    flag->take(*flag, texts);
  }
  if (!skip_checks.empty() && given(skip_checks)) return;
  for (const auto& flag : flags_) {
    if (flag->alone && flag->given) return;
  }
  for (const auto& flag : flags_) {
    const bool empty = !flag->given || flag->value() == Json("");
    if (flag->must && empty) throw UsageError("--{} is required; see --help", flag->name);
  }
}

void Flags::translate() {
  for (const auto& flag : flags_) {
    if (!flag->meaning || !flag->given) continue;
    const Json said = flag->value();
    std::vector<std::string> texts;
    if (said.is_string()) {
      texts.push_back(flag->meaning(said.get<std::string>()));
    } else {
      for (const Json& text : said) texts.push_back(flag->meaning(text.get<std::string>()));
    }
    flag->take(*flag, texts);
  }
}

bool Flags::given(const std::string& name) const {
  const Flag* flag = find(name);
  if (flag == nullptr) throw InternalError("--{} is no flag of this command", name);
  return flag->given;
}

Json Flags::values() const {
  Json all = Json::object();
  for (const auto& flag : flags_) {
    Json value = flag->value();
    const bool says_nothing =
        !flag->given && (value.is_null() || value == Json("") || (value.is_array() && value.empty()));
    if (!says_nothing) all[flag->name] = std::move(value);
  }
  return all;
}

std::vector<FlagName> Flags::names() const {
  std::vector<FlagName> all;
  for (const auto& flag : flags_) {
    if (!flag->shown) continue;
    all.push_back({flag->name, flag->help, flag->words, flag->is_switch, flag->repeats, flag->stands_alone});
  }
  return all;
}

std::string Flags::help() const {
  std::vector<std::pair<std::string, std::unique_ptr<po::options_description>>> groups;
  for (const auto& flag : flags_) {
    if (!flag->shown) continue;
    auto at = std::find_if(groups.begin(), groups.end(),
                           [&](const auto& group) { return group.first == flag->group; });
    if (at == groups.end()) {
      groups.emplace_back(
          flag->group, std::make_unique<po::options_description>(flag->group, kHelpWidth, kDescriptionWidth));
      at = std::prev(groups.end());
    }
    at->second->add_options()(flag->name.c_str(),
                              semantics(flag->is_switch, flag->repeats, flag->several, flag->default_text),
                              flag->help.c_str());
  }
  po::options_description all("", kHelpWidth, kDescriptionWidth);
  for (const auto& [title, group] : groups) all.add(*group);
  std::ostringstream stream;
  stream << all;
  return stream.str();
}

const std::string& required_text(const std::string& value, const std::string& flag) {
  if (value.empty()) throw UsageError("--{} is required; see --help", flag);
  return value;
}

}  // namespace ropescope::app
