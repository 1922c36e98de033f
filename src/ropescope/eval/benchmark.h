// A benchmark: how its questions are put, how answers are read and scored, and how scores become the figure
// of a table. One file of benchmarks/ each, one line of benchmarks/registry.cpp.
//
// A `doc` is a record of the benchmark's data with the data's own column names (docs/evaluation.md lists
// them). Sources: lmms-eval of May 2025 (0.3.0; profile `paper`) and 0.7.3 (profile `current`), VLMEvalKit of
// August 2026 (e8e78f05; profile `vlmevalkit`), MM-NIAH's and DIPE's scripts.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/box_scale.h"

namespace ropescope::eval {

/// Scoring code changed after ID-Align appeared: `paper` is the state that it was scored with. DIPE was scored with
/// another harness, VLMEvalKit, which asks in other words and reads by other rules.
enum class Profile { kPaper, kCurrent, kVlmEvalKit };
/// MMBench answers in which no rule finds a letter: wrong, or read by one more rule.
enum class Policy { kExact, kStatic };

struct Rules {
  Profile profile = Profile::kPaper;
  Policy policy = Policy::kExact;
  bool ocr_tokens = false;           ///< TextVQA: give the data's OCR tokens in the prompt
  BoxScale boxes = BoxScale::kAuto;  ///< referring expressions: in which numbers answers are read
  bool subtitles = false;            ///< Video-MME: give the clip's subtitles in the prompt
};

/// "paper", "current" or "vlmevalkit"; "exact" or "static". Throw UsageError.
Profile parse_profile(const std::string& text);
Policy parse_policy(const std::string& text);
std::string profile_name(Profile profile);
std::string policy_name(Policy policy);

/// Where a benchmark's questions have their options.
enum class Options {
  kNone,        ///< it asks without any: a record that has some is another benchmark's
  kColumns,     ///< in columns that its prompt reads
  kInQuestion,  ///< in the question's text
};

/// What was read from one answer.
struct Reading {
  /// A letter, a word or a box; null where no answer was found, or where the benchmark compares the output as
  /// it is.
  Json extracted;
  /// The output as it was compared, for the VQA metrics.
  std::optional<std::string> processed;
  double score = 0;  ///< 0..1
  /// The output is none of the forms that the benchmark reads (no letter, neither yes nor no, no box, or
  /// nothing at all): wrong, but not for the answer that it gives.
  bool unreadable = false;
  /// The harness would ask a judge model what the answer says: until a judge has spoken it is wrong.
  bool undecided = false;
};

/// Where a harness asks a judge model what an answer says. The score of its prefetch alone is lower, or equal.
struct Judge {
  /// The text for the judge, in words of ours.
  std::string (*question)(const Json& doc, const std::string& output, const Rules& rules) = nullptr;
  /// Reads an undecided output by the judge's reply.
  Reading (*read)(const Json& doc, const std::string& output, const std::string& reply,
                  const Rules& rules) = nullptr;
};

/// Collects readings in any order; memory grows with the number of groups, not of items, wherever the metric
/// allows it.
class Tally {
 public:
  virtual ~Tally() = default;
  virtual void add(const Json& doc, const Reading& reading) = 0;
  /// Fractions unless the benchmark prints otherwise (MME: points). Throws InputError if items that belong
  /// together are missing.
  virtual Json aggregates() const = 0;
  /// What a result file keeps beside the aggregates, which have the references' names only; null for nothing.
  virtual Json details() const { return nullptr; }
};

/// What the items of a benchmark are independent pieces of, for intervals and comparisons. The figure is the
/// weighted sum of the strata's means, each over the stratum's units; items with the same key are one unit.
struct Unit {
  std::string stratum, key;
  bool counts = true;  ///< a unit counts if one of its items does
};
struct UnitRule {
  Unit (*unit)(const Json& doc, const std::string& item) = nullptr;  ///< absent: every item is a unit
  double (*value)(const std::vector<double>& scores) = nullptr;  ///< of a unit's items; absent: the one score
  /// Weight of a stratum among `strata`; absent: equal weights that sum to 1.
  double (*weight)(const std::string& stratum, size_t strata) = nullptr;
  /// The part of the benchmark that a table prints on its own and a counting item belongs to; absent: none.
  std::string (*part)(const Json& doc) = nullptr;
  /// How often the figure counts an item. The figure is then the sum of the counted scores over the counts, and a
  /// unit's value is its share of that times the number of units. Absent: `value` and the strata alone.
  double (*times)(const Json& doc) = nullptr;
  /// Keys are indices, and two that follow one another (0 and 1 or, where there is no 0, 1 and 2) are one unit,
  /// right if both are. One without its neighbour does not count.
  bool pairs = false;
  /// A unit counts as often as it has items: a stratum's mean is that of the items, `value` their mean in a unit.
  bool weigh_items = false;
};

struct Benchmark {
  std::string name;     ///< as in --benchmark; never renamed
  std::string summary;  ///< one sentence
  std::string data;     ///< the published data set and its split
  std::vector<std::string> columns;
  int64_t max_new_tokens = 16;
  /// Place of the table's figure in the aggregates, and what turns it into percent.
  Json::json_pointer headline;
  double headline_scale = 100;
  /// The text for the model, without image marks in front and without the conversation template; null if the
  /// doc has no question. Throws InputError naming a missing or wrong column.
  Json (*prompt)(const Json& doc, const Rules& rules);
  /// Reads the raw output of the model.
  Reading (*read)(const Json& doc, const std::string& output, const Rules& rules);
  std::unique_ptr<Tally> (*tally)(const Rules& rules);
  UnitRule units = {};
  Options options = Options::kNone;
  /// Brings a record of another published form of the data (VLMEvalKit's tables) into the columns above;
  /// absent: there is none. A record that has them stays as it is. Throws InputError.
  void (*adopt)(Json& record) = nullptr;
  /// Throws InputError unless the doc's answer can be one of this benchmark's. Absent: `read` finds out.
  void (*check)(const Json& doc) = nullptr;
  /// Whether `bbox` is in pixels of a picture whose size the doc does not say.
  bool (*lacks_image_size)(const Json& doc) = nullptr;
  bool has_policy = false;  ///< Rules::policy makes a difference
  /// Answers that are there already are scored whatever options the doc has, as the harness does; only asking needs them.
  bool scores_any_options = false;
  bool has_boxes = false;      ///< Rules::boxes makes a difference
  bool has_subtitles = false;  ///< Rules::subtitles makes a difference
  bool has_ocr = false;        ///< Rules::ocr_tokens makes a difference
  bool about_clips = false;    ///< its questions are about clips: one without is asked, with a warning
  /// Tokens, where they depend on the rules; absent: max_new_tokens.
  int64_t (*longest_answer)(const Rules& rules) = nullptr;
  Judge judge = {};
  /// Under which of lmms-eval's states there are rules.
  std::vector<Profile> profiles = {Profile::kPaper, Profile::kCurrent};
  /// Names that harnesses give it, which --benchmark takes too.
  std::vector<std::string> other_names = {};
  /// What it is under a profile that asks, reads or counts in another way than the fields above say.
  std::map<Profile, std::shared_ptr<const Benchmark>> variants = {};
};

/// `record` in the benchmark's own columns. Throws InputError.
Json own_columns(const Benchmark& benchmark, Json record);
/// Throws InputError, naming the column, where the doc is no question of this benchmark: options that it does
/// not ask with, an answer of another form.
void check_doc(const Benchmark& benchmark, const Json& doc);
/// Throws InputError where the question cannot be answered as it would be asked: its options are missing.
void check_question(const Benchmark& benchmark, const Json& doc);

/// Throws UsageError where the benchmark has no rules under the profile, or they ask for no boxes, subtitles or OCR tokens.
void check_rules(const Benchmark& benchmark, const Rules& rules);
/// Why a profile reads no boxes of this scale; empty if it does.
std::string box_refusal(BoxScale scale, Profile profile);
/// Whether its files are MMBench's, of any edition.
bool is_mmbench(const Benchmark& benchmark);

const std::vector<Benchmark>& benchmarks();
/// Throws UsageError with the nearest name.
const Benchmark& find_benchmark(const std::string& name);
/// The benchmark as the profile has it. Throws UsageError, naming the profiles that do, where it has no rules for it.
const Benchmark& benchmark_under(const Benchmark& benchmark, Profile profile);
/// The profiles that have rules for it, in the order of the enumeration; the first one is the default.
std::vector<Profile> profiles_of(const Benchmark& benchmark);

}  // namespace ropescope::eval
