// Flags of a command: one line binds a name, a field, its range and its help; the field's value before parsing is the
// default. Boost.Program_options does the parsing, in flags.cpp alone.
//
//   struct SampleFlags {
//     std::string model;                        // empty: not given
//     int64_t max_texts = 100;
//     std::optional<double> theta;              // absent unless given
//     std::vector<int64_t> layers;              // "0-3,31"; empty unless given
//     void bind(Flags& flags) {
//       flags.group("Sampling");
//       flags.add("model", model, "checkpoint: a folder, or a .gguf file").required();
//       flags.add("max-texts", max_texts, "texts to take").at_least(1);
//       flags.add("theta", theta, "base in place of the checkpoint's").above(0);
//       flags.add("layers", layers, "layers, for example 0-3,31; all unless given");
//     }
//   };
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "ropescope/core/json.h"

#include "flag_text.h"

namespace ropescope::app {

/// One flag, and what may be said of it beside its name: `flags.add(...).at_least(1)`.
class Flag {
 public:
  /// A command without it is a usage error.
  Flag& required();
  /// Bounds of a number (of every number of a list). Outside: UsageError naming flag, bound and value.
  Flag& at_least(double low);
  Flag& at_most(double high);
  Flag& between(double least, double most) { return at_least(least).at_most(most); }
  /// Greater than, not equal to.
  Flag& above(double low);
  /// The words that are taken, for help, completion and the message that refuses others.
  Flag& one_of(std::vector<std::string> words);
  /// Another name of the same flag, which help does not show.
  Flag& alias(std::string name);
  /// What help shows as the default, in place of the field's value; "" shows none.
  Flag& shown_default(std::string text);
  /// Words that stand without a flag's name are values of this one (a list).
  Flag& positional();
  /// A switch that needs no other flag: a command with it is complete, whatever else is required.
  Flag& suffices();
  /// Values may follow one another: --results a b c (a list).
  Flag& multitoken();
  /// What a text stands for (Flags::translate).
  Flag& stands_for(std::function<std::string(const std::string&)> meaning);

 private:
  friend class Flags;
  std::string name, help, group, aliased;
  std::vector<std::string> words;
  std::optional<double> low, high, greater_than;
  std::optional<std::string> default_text;
  bool must = false, stands_alone = false, several = false, repeats = false, is_switch = false, alone = false,
       shown = true;
  bool given = false;
  std::function<void(const Flag&, const std::vector<std::string>&)> take;  ///< throws UsageError
  std::function<Json()> value;
  std::function<std::string(const std::string&)> meaning;
};

/// What completion knows of a flag.
struct FlagName {
  std::string name, help;
  std::vector<std::string> words;  ///< that it takes; empty: any
  bool is_switch = false, repeats = false;
  bool stands_alone = false;  ///< its values may stand without its name
};

class Flags {
 public:
  Flags();
  ~Flags();
  Flags(const Flags&) = delete;
  Flags& operator=(const Flags&) = delete;

  /// The flags that follow stand under this title in --help. Hidden groups are taken, but not shown.
  void group(std::string title, bool shown = true);

  /// T: std::string, bool (a switch), int64_t, uint64_t, double, std::vector<int64_t> (a list like 0-3,31),
  /// std::vector<double> (1e4,1e6), std::vector<std::string> (the flag may be given again), or std::optional of
  /// a single value.
  Flag& add(std::string name, std::string& field, std::string help);
  Flag& add(std::string name, bool& field, std::string help);
  Flag& add(std::string name, int64_t& field, std::string help);
  Flag& add(std::string name, uint64_t& field, std::string help);
  Flag& add(std::string name, double& field, std::string help);
  Flag& add(std::string name, std::vector<int64_t>& field, std::string help);
  Flag& add(std::string name, std::vector<double>& field, std::string help);
  Flag& add(std::string name, std::vector<std::string>& field, std::string help);
  Flag& add(std::string name, std::optional<std::string>& field, std::string help);
  Flag& add(std::string name, std::optional<int64_t>& field, std::string help);
  Flag& add(std::string name, std::optional<uint64_t>& field, std::string help);
  Flag& add(std::string name, std::optional<double>& field, std::string help);

  /// Fills the fields. argv[0] is not looked at. `config` names the flag whose file of `flag = value` lines is read
  /// too; flags of the command line win. `skip_checks` (names a switch): when it is given, nothing is required.
  /// Throws UsageError naming the flag, with the nearest name for an unknown one; InputError for the file.
  void parse(int argc, const char* const* argv, const std::string& config, const std::string& skip_checks);

  /// Puts what they stand for in place of the texts of flags that stands_for() was said of.
  void translate();

  /// Was it said on the command line or in the configuration file? InternalError for a name that is no flag.
  bool given(const std::string& name) const;
  /// Every flag that has a value, by its name.
  Json values() const;
  /// What help shows, in its order: for completion.
  std::vector<FlagName> names() const;
  /// The text below the heading of --help.
  std::string help() const;

 private:
  template <typename T>
  Flag& bind(std::string name, T& field, std::string help);
  Flag& declare(std::string name, std::string help);
  const Flag* find(const std::string& name) const;

  std::vector<std::unique_ptr<Flag>> flags_;
  std::string group_;
  bool shown_ = true;
};

/// The value of a flag that only some uses of a command need. Throws UsageError where it is empty.
const std::string& required_text(const std::string& value, const std::string& flag);

}  // namespace ropescope::app
