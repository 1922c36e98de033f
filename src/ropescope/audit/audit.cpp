#include "ropescope/audit/audit.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/strings.h"

namespace ropescope {

namespace {

/// Below this share of the differing tokens a mistake explains nothing worth saying.
constexpr double kLeastShare = 0.5;
/// Entries that are listed.
constexpr size_t kMostExact = 6, kMostPartial = 3;
/// Pairs of mistakes are tried up to so many tokens.
constexpr int64_t kMostTokensForPairs = int64_t{1} << 17;

/// Which columns count, and which of them differ from the rule.
struct Compared {
  std::vector<uint8_t> counts, differs;  // [B count]
  int64_t number = 0, differing = 0;
};

/// Whether a token's ids are the same on all axes.
std::vector<uint8_t> same_tokens(const at::Tensor& one, const at::Tensor& other) {
  const at::Tensor equal = one.eq(other).all(0).to(at::kByte).contiguous();
  const auto* data = equal.const_data_ptr<uint8_t>();
  return {data, data + equal.numel()};
}

Compared compare(const AuditedPrompt& prompt, const IdRecord& record, const at::Tensor& expected) {
  Compared compared;
  const std::vector<uint8_t> same = same_tokens(record.ids, expected);
  std::vector<uint8_t> same_text(same.size(), 1);
  if (record.text.defined()) same_text = same_tokens(record.text, text_positions(prompt, record.window));
  compared.counts.assign(same.size(), 1);
  compared.differs.assign(same.size(), 0);
  size_t i = 0;
  for (int64_t row = 0; row < prompt.batch; ++row) {
    for (int64_t k = 0; k < record.window.count; ++k, ++i) {
      const int64_t token = record.window.first + k;
      if (token < prompt.tokens && prompt.hidden(row, token)) {
        compared.counts[i] = 0;
        continue;
      }
      ++compared.number;
      compared.differs[i] = same[i] == 0 || same_text[i] == 0;
      compared.differing += compared.differs[i];
    }
  }
  return compared;
}

IdDifference first_difference(const AuditedPrompt& prompt, const IdRecord& record, const at::Tensor& expected,
                              const Compared& compared) {
  const auto at = std::find(compared.differs.begin(), compared.differs.end(), 1) - compared.differs.begin();
  IdDifference first;
  first.row = at / record.window.count;
  const int64_t column = at % record.window.count;
  first.token = record.window.first + column;
  first.modality = modality_of(prompt, first.row, first.token);
  first.where = place_of(prompt, first.row, first.token);
  const std::vector<std::string> names = axis_names(prompt.axes);
  for (int64_t axis = 0; axis < prompt.axes; ++axis) {
    first.expected = expected[axis][first.row][column].item<double>();
    first.found = record.ids[axis][first.row][column].item<double>();
    first.axis = names[static_cast<size_t>(axis)];
    if (first.expected != first.found) return first;
  }
  first.axis = "text";
  first.expected = text_positions(prompt, record.window)[0][first.row][column].item<double>();
  first.found = record.text[0][first.row][column].item<double>();
  return first;
}

/// A rule that was tried, and how much of the record it gives.
struct Tried {
  LooksLike look;
  bool exact = false;
};

class Trials {
 public:
  Trials(const AuditedPrompt& prompt, const IdRecord& record, const Compared& compared)
      : prompt_(prompt), record_(record), compared_(compared) {}

  std::optional<Tried> attempt(const std::vector<const IdMistake*>& mistakes,
                               const std::vector<const IdGuess*>& guesses) const {
    IdRule rule;
    for (const IdGuess* guess : guesses) guess->change(rule);
    const at::Tensor ids = ids_under(prompt_, rule, record_.window);
    if (!ids.defined()) return std::nullopt;
    std::vector<uint8_t> same = same_tokens(record_.ids, ids);
    if (record_.text.defined()) {
      const at::Tensor text = text_positions(prompt_, record_.window, rule.counting);
      const std::vector<uint8_t> same_text = same_tokens(record_.text, text);
      for (size_t i = 0; i < same.size(); ++i) same[i] &= same_text[i];
    }
    int64_t all = 0, of_differing = 0;
    for (size_t i = 0; i < same.size(); ++i) {
      const bool given = same[i] != 0 && compared_.counts[i] != 0;
      all += given;
      of_differing += given && compared_.differs[i] != 0;
    }
    Tried tried;
    tried.look.mistakes = mistakes;
    std::vector<std::string> details;
    for (const IdGuess* guess : guesses) {
      if (!guess->detail.empty()) details.push_back(guess->detail);
    }
    tried.look.detail = fmt::format("{}", fmt::join(details, "; "));
    tried.look.explains = static_cast<double>(all) / static_cast<double>(compared_.number);
    tried.look.explains_differing =
        static_cast<double>(of_differing) / static_cast<double>(compared_.differing);
    tried.exact = all == compared_.number;
    return tried;
  }

 private:
  const AuditedPrompt& prompt_;
  const IdRecord& record_;
  const Compared& compared_;
};

/// Guesses of one mistake that all give the record are one entry with all their details.
void add_exact(Tried tried, std::vector<LooksLike>& exact) {
  if (!exact.empty() && exact.back().mistakes == tried.look.mistakes) {
    exact.back().detail += ", or " + tried.look.detail;
  } else if (exact.size() < kMostExact) {
    exact.push_back(std::move(tried.look));
  }
}

std::vector<LooksLike> find_mistakes(const AuditCase& of, const IdRecord& record, const Compared& compared) {
  const Trials trials(of.prompt, record, compared);
  const std::vector<IdMistake>& known = known_mistakes();
  std::vector<std::vector<IdGuess>> guesses;
  std::vector<LooksLike> exact, partial;
  for (const IdMistake& mistake : known) {
    guesses.push_back(mistake.guesses(of));
    std::optional<LooksLike> best;
    for (const IdGuess& guess : guesses.back()) {
      auto tried = trials.attempt({&mistake}, {&guess});
      if (!tried) continue;
      if (tried->exact) {
        add_exact(std::move(*tried), exact);
      } else if (!best || tried->look.explains_differing > best->explains_differing) {
        best = std::move(tried->look);
      }
    }
    // A shift is read off one token, which it then explains.
    const bool says_something = best && mistake.kind != "shift" && best->explains_differing >= kLeastShare;
    if (says_something) partial.push_back(std::move(*best));
  }
  if (!exact.empty()) return exact;
  const bool few = of.prompt.batch * of.window.count <= kMostTokensForPairs;
  for (size_t i = 0; few && i < known.size(); ++i) {
    for (size_t j = i + 1; j < known.size(); ++j) {
      if (known[i].kind == known[j].kind) continue;
      for (const IdGuess& one : guesses[i]) {
        for (const IdGuess& other : guesses[j]) {
          auto tried = trials.attempt({&known[i], &known[j]}, {&one, &other});
          if (tried && tried->exact) add_exact(std::move(*tried), exact);
        }
      }
    }
  }
  if (!exact.empty()) return exact;
  std::stable_sort(partial.begin(), partial.end(), [](const LooksLike& a, const LooksLike& b) {
    return a.explains_differing > b.explains_differing;
  });
  if (partial.size() > kMostPartial) partial.resize(kMostPartial);
  return partial;
}

std::vector<std::string> warnings_of(const AuditedPrompt& prompt) {
  std::vector<std::string> warnings;
  const std::vector<double> steps = rule_steps(prompt);
  std::set<int64_t> seen;
  int64_t clip = 0;
  for (size_t i = 0; i < prompt.items.size(); ++i) {
    if (prompt.items[i].kind != MediaKind::kVideo) continue;
    const int64_t number = clip++, groups = prompt.items[i].groups;
    std::set<double> times;
    for (int64_t tau = 0; tau < groups; ++tau) {
      times.insert(std::trunc(static_cast<float>(steps[i]) * static_cast<float>(tau)));
    }
    const auto distinct = static_cast<int64_t>(times.size());
    if (distinct == groups) continue;
    warnings.push_back(fmt::format(
        "video {}: {} groups of frames share {} under the model's own rule, since it has {:g} ids a second and its groups are {:.4g} seconds apart",
        number, groups, counted(distinct, "time id"), prompt.ids_per_second, prompt.items[i].seconds));
  }
  return warnings;
}

void check_record(const AuditedPrompt& prompt, const IdRecord& record) {
  const std::vector<int64_t> form = {prompt.axes, prompt.batch, record.window.count};
  if (record.ids.sizes() != at::IntArrayRef(form) || record.window.count < 1) {
    throw InputError("position ids: expected [{}], found [{}]", fmt::join(form, ", "),
                     fmt::join(record.ids.sizes(), ", "));
  }
  for (const at::Tensor& ids : {record.ids, record.text}) {
    if (ids.defined() && !ids.isfinite().all().item<bool>()) {
      throw InputError("position ids: expected finite numbers, found infinite ones or none");
    }
  }
}

}  // namespace

std::vector<std::string> axis_names(int64_t axes) {
  return axes == 1 ? std::vector<std::string>{"id"} : std::vector<std::string>{"t", "h", "w"};
}

std::string modality_of(const AuditedPrompt& prompt, int64_t row, int64_t token) {
  if (token >= prompt.tokens) return "generated";
  const int64_t item = prompt.item_of[static_cast<size_t>(row * prompt.tokens + token)];
  if (item < 0) return "text";
  return prompt.items[static_cast<size_t>(item)].kind == MediaKind::kVideo ? "video" : "image";
}

std::string place_of(const AuditedPrompt& prompt, int64_t row, int64_t token) {
  const std::string modality = modality_of(prompt, row, token);
  if (modality == "text" || modality == "generated") return modality;
  const int64_t item = prompt.item_of[static_cast<size_t>(row * prompt.tokens + token)];
  const auto same = std::count_if(
      prompt.items.begin(), prompt.items.begin() + item,
      [&](const AuditedItem& one) { return one.kind == prompt.items[static_cast<size_t>(item)].kind; });
  return fmt::format("{} {}", modality, same);
}

AuditReport audit_ids(const AuditedPrompt& prompt, const IdRecord& record) {
  check_record(prompt, record);
  const at::Tensor expected = ids_of_rule(prompt, record.window);
  const Compared compared = compare(prompt, record, expected);
  AuditReport report;
  report.compared = compared.number;
  report.differing = compared.differing;
  report.hidden = prompt.batch * record.window.count - compared.number;
  report.generated =
      prompt.batch * std::max<int64_t>(0, record.window.end() - std::max(prompt.tokens, record.window.first));
  report.warnings = warnings_of(prompt);
  if (compared.number == 0)
    throw InputError("position ids: expected those of a real token, found padding only");
  if (report.equal()) {
    // Right, and yet the model cannot tell its frames apart.
    for (const std::string& warning : report.warnings) {
      report.looks_like.push_back({{&known_mistake("time-ids-collide")}, warning, 1.0, 0.0});
    }
    return report;
  }
  report.first = first_difference(prompt, record, expected, compared);
  const AuditCase of{
      prompt, record.window, record.ids, expected, report.first->row, report.first->token, record.source_fps};
  report.looks_like = find_mistakes(of, record, compared);
  return report;
}

}  // namespace ropescope
