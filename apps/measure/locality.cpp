// ropescope locality: what a growing context leaves of the preference for near keys and of the order of two keys.
#include "ropescope/analysis/locality.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "ropescope/analysis/figures.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

#include "command.h"
#include "measure/bases.h"
#include "measure/locality_report.h"

namespace ropescope::app {

namespace locality {

namespace {

constexpr int64_t kShortestLength = 256;   // where no lengths are given: from here, doubled
constexpr int64_t kDefaultContext = 4096;  // to here, where a samples file does not know the model's context

struct LocalityFlags {
  std::string samples, output;
  std::vector<int64_t> lengths, layers, heads;  // empty: not given
  BaseFlags bases;
  std::string by = "theta";
  int64_t points = 4096;
  bool causal = false;
  std::optional<std::string> plot;

  void bind(Flags& flags) {
    flags.group("Locality");
    flags.add("samples", samples, "result of `ropescope sample`, or any HDF5 file with /pairs").required();
    flags
        .add(
            "lengths", lengths,
            "lengths of the context in tokens, for example 1024,8192,131072; powers of two from 256 to the model's "
            "context unless given")
        .between(2, static_cast<double>(kLongestContext));
    bases.bind(flags);
    flags
        .add(
            "by", by,
            "the table and the figure: theta, the mean over the layers that rotate; kind, the mean of each kind of "
            "layers (sliding, full, without rotation)")
        .one_of({"theta", "kind"});
    flags
        .add(
            "points", points,
            "distances that are counted: all of a length up to so many, else one drawn in each of so many equal "
            "parts, anew for every text (--seed); 0: all of every length")
        .between(0, static_cast<double>(kLongestContext));
    flags.add("layers", layers, "only pairs of these layers, for example 0-3,31");
    flags.add("heads", heads, "only pairs of these query heads");
    flags.add("causal", causal, "only pairs whose key is not after the query");
    flags.add("plot", plot, "figure of the curves (.png, .svg or .pdf)");
    flags.add("output", output, "result file, for example locality.h5").required();
  }
};

/// Ascending, each once.
std::vector<int64_t> chosen_lengths(const LocalityFlags& flags, const ModelFacts& model) {
  std::vector<int64_t> lengths = flags.lengths;
  if (lengths.empty()) {
    const int64_t context =
        model.max_position_embeddings > 0 ? model.max_position_embeddings : kDefaultContext;
    const int64_t last = std::min(context, kLongestContext);
    for (int64_t length = kShortestLength; length <= last; length *= 2) lengths.push_back(length);
    if (lengths.empty()) lengths.push_back(std::max<int64_t>(last, 2));
  }
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  return lengths;
}

/// Asked for, or all that there is: a mean over layers that rotate needs some.
bool shown_by_kind(const LocalityFlags& flags, const LocalityResult& result) {
  if (flags.by == "kind" && result.kinds.empty()) {
    throw UsageError(
        "--by kind: expected samples that say what turns each layer, found no /samples/layers in {}; sample again, or "
        "select layers with --layers",
        flags.samples);
  }
  return flags.by == "kind" || result.near.pairs == 0;
}

int run(const LocalityFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  if (flags.plot) check_figure_path(*flags.plot, settings.force);
  const SampleSelection selection{flags.layers, flags.heads, flags.causal};
  const Samples samples = read_samples(flags.samples, SampleSource::kPairs, selection);
  LocalityOptions options;
  static_cast<BaseColumns&>(options) = flags.bases.columns(samples.model);
  options.lengths = chosen_lengths(flags, samples.model);
  options.points = flags.points;
  options.seed = settings.seed;
  options.selection = selection.text();
  Provenance provenance = invocation.provenance();
  provenance.add_input(flags.samples);
  ResultWriter writer(flags.output, provenance, settings.force);
  const auto start = std::chrono::steady_clock::now();
  const LocalityResult result = compute_locality(samples, options);
  const bool by_kind = shown_by_kind(flags, result);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  write_locality(writer, result);
  writer.commit();
  for (const std::string& note : result.notes) log_warning("{}", note);
  if (settings.json) {
    print_json(result, flags.output, seconds);
  } else if (settings.csv) {
    print_csv(result, by_kind);
  } else {
    print_table(result, by_kind);
    fmt::print("{} lengths x {} thetas in {:.1f} s; written to {}\n", result.length.size(0),
               result.theta.size(0), seconds, flags.output);
  }
  if (flags.plot) {
    plot_result(flags.output, by_kind ? "locality-by-kind" : "locality", *flags.plot, settings.force);
    log_info("figure written to {}", *flags.plot);
  }
  return 0;
}

}  // namespace

}  // namespace locality

extern const Command kLocality;
const Command kLocality = make_command<locality::LocalityFlags>(
    "locality",
    "Measures how often near keys are preferred and how often two keys' order flips as a context grows.",
    "ropescope locality --samples samples.h5 --lengths 256,1024,4096 --theta 1e4,1e6 --output locality.h5",
    kThreads | kDraws | kWrites | kTables, locality::run);

}  // namespace ropescope::app
