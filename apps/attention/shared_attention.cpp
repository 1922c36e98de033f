#include "attention/shared_attention.h"

#include "ropescope/analysis/attention_items.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/core/strings.h"
#include "ropescope/core/version.h"
#include "ropescope/io/result_copy.h"

namespace ropescope::app::attention {

namespace {

/// What changes nothing that is measured.
constexpr const char* kOutsideTheSubject[] = {"output",  "force",   "resume",  "plot", "average",
                                              "quiet",   "config",  "json",    "csv",  "markdown",
                                              "threads", "weights", "timeout", "help"};

/// Where an item lies: by input, then by scheme.
struct Place {
  int64_t input;
  size_t scheme;
};

Place place_of(int64_t item, const AttentionStudyOptions& options) {
  const auto schemes = static_cast<int64_t>(options.schemes.size());
  return {item / schemes, static_cast<size_t>(item % schemes)};
}

}  // namespace

Json study_subject(const Invocation& invocation, const Provenance& provenance) {
  Json subject = invocation.flags.values();
  for (const char* flag : kOutsideTheSubject) subject.erase(flag);
  add_facts(subject, provenance);
  subject["version"] = version() + " " + commit();
  return subject;
}

AttentionResult study_in_parts(const Decoder& decoder, const AttentionInputs& inputs,
                               const AttentionStudyOptions& options, DealtWork& work, const WorkParts& parts,
                               const Json& subject, bool resume, const Provenance& provenance,
                               ResultWriter* writer, const std::function<void(int64_t items)>& dealt) {
  const int64_t count = inputs.count * static_cast<int64_t>(options.schemes.size());
  if (count == 1 && !work.alone()) {
    throw UsageError(
        "attention: expected several inputs or schemes to share among {} processes, found one input under one scheme. Try: one "
        "process, or more --schemes, --image or rows of --tokens",
        work.world());
  }
  AttentionItems items(decoder, inputs, options);
  std::vector<int64_t> open;
  if (work.leads()) {
    parts.begin(subject, resume);
    open = parts.open(count);
    const int64_t done = count - static_cast<int64_t>(open.size());
    if (done > 0) log_info("measured already: {} of {} inputs under a scheme", done, count);
  }
  work.deal(open, subject);
  dealt(work.items());
  while (const auto item = work.next()) {
    const auto [input, scheme] = place_of(*item, options);
    ResultWriter part(parts.file(*item), provenance, /*force=*/true);
    write_outcome(part, items.measure(input, {scheme}, part).front());
    part.commit();
  }
  work.finish();
  if (!work.leads()) return {};
  for (int64_t item = 0; item < count; ++item) {
    if (!parts.has(item)) {
      throw EnvironmentError("{}: not there. Try: an --output that all machines see",
                             parts.file(item).string());
    }
    const ResultReader part(parts.file(item));
    const auto [input, scheme] = place_of(item, options);
    copy_group(part, "/attention", *writer);
    items.add(input, scheme, read_outcome(part));
  }
  return items.finish(*writer);
}

}  // namespace ropescope::app::attention
