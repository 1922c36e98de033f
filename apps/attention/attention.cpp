// ropescope attention: where a model's heads look, row by row, under each scheme.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <ATen/core/grad_mode.h>

#include "ropescope/analysis/attention_file.h"
#include "ropescope/analysis/attention_study.h"
#include "ropescope/analysis/figures_attention.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/core/unfinished.h"
#include "ropescope/text/generated_text.h"

#include "attention/attention_input.h"
#include "attention/attention_report.h"
#include "attention/shared_attention.h"
#include "inputs/model_folder.h"
#include "inputs/processes.h"
#include "inputs/work_parts.h"

namespace ropescope::app {

namespace attention {

namespace {

struct AttentionFlags {
  InputFlags input;
  std::string schemes;  // empty: compared_schemes()
  std::optional<std::string> queries, region, word;
  int64_t max_new_tokens = 0, probe = 64;
  std::vector<int64_t> layers, heads;  // empty: all
  std::vector<int64_t> top_k = {1, 5};
  std::string keep = "rows";
  std::optional<std::string> distractor;
  std::vector<int64_t> text_lengths;
  bool sinks = false, drift = false;
  int64_t null_draws = 199;
  double sink_times = 10;
  std::optional<std::string> plot;
  std::string average = "all";
  bool markdown = false;
  std::string output;
  bool resume = false;
  WorkFlags processes;

  void bind(Flags& flags) {
    input.bind(flags);
    flags.group("Attention");
    flags
        .add(
            "schemes", schemes,
            "position encodings, separated by ; (or , where no scheme has commas); default: vanilla and that which the model was trained under, as its config.json says")
        .alias("scheme")
        .shown_default("vanilla;id-align");
    flags.add(
        "queries", queries,
        "the tokens that look: last, text (the question's), generated, high (all high-resolution ones), token indices like 5,10-12; last unless --region or --word say who");
    flags.add("region", region, "x,y,width,height in pixels of the image: its high-resolution tokens look");
    flags.add("word", word, "a word of the question: its tokens look");
    flags.add("max-new-tokens", max_new_tokens, "tokens to generate greedily for --queries generated");
    flags.add("layers", layers, "only these layers, for example 0-3,31");
    flags.add("heads", heads, "only these query heads");
    flags
        .add("probe", probe,
             "high-resolution tokens, evenly spread, asked how they attend to their own thumbnail token")
        .at_least(0);
    flags.add("top-k", top_k, "ranks that count as a hit on that token").at_least(1);
    flags
        .add(
            "keep", keep,
            "beside the numbers: rows (of every query), means (the mean row of each set of queries, enough for --plot), or numbers (nothing)")
        .one_of({"rows", "means", "numbers"});
    flags.group("Long context");
    flags.add("distractor", distractor, "texts (as --texts of sample) put between image and question");
    flags.add("text-lengths", text_lengths, "tokens of them, for example 0,1024,4096,16384: the fading curve")
        .at_least(0);
    flags.group("On the picture");
    flags.add(
        "sinks", sinks,
        "the shares of corner, edge and interior cells, beside keys of the same length in random directions; sinks from the tower and from the decoder");
    flags.add("sink-times", sink_times, "a sink gets this many times the attention of the mean cell")
        .above(1);
    flags.add(
        "drift", drift,
        "whether the pattern on the picture moves from one looking token to the next (8 in a row, from --queries generated or text), beside what the scheme's ids predict");
    flags.add("null-draws", null_draws, "draws of chance behind the p values of --sinks and --drift")
        .between(19, 99999);
    flags.group("Output");
    flags.add("plot", plot, "folder for pictures of what was asked (PNG and SVG)");
    flags
        .add("average", average, "of the maps: all (one map), heads (one a layer), layers (one a head), none")
        .one_of({"all", "heads", "layers", "none"});
    flags.add("markdown", markdown, "the table as Markdown");
    flags.add("output", output, "result file, for example attention.h5").required();
    flags.add(
        "resume", resume,
        "keep each input under each scheme as it is measured, and go on with an interrupted run of the same command: in any number of processes, parts lie beside the output until it is complete; streamed weights are then read once for each scheme");
    processes.bind(flags);
  }
};

/// What is compared unless --schemes says it: vanilla with the scheme that the model was trained under.
std::string compared_schemes(const InputFlags& input) {
  std::optional<std::string> own;
  if (const auto& model = input.model ? input.model : input.decoder) default_to_own_scheme(own, *model);
  // (of a model whose own ids have rows of frames, rows and columns: those)
  const std::string native = input.model ? read_decoder_config(*input.model).native_scheme() : "vanilla";
  const std::string other = native == "vanilla" ? "id-align" : "vanilla";
  return native + ";" + (own && *own != native ? *own : other);
}

AttentionStudyOptions study_options(const AttentionFlags& flags, uint64_t seed) {
  AttentionStudyOptions study;
  study.schemes = split_scheme_list(flags.schemes);
  for (const std::string& scheme : study.schemes)
    Scheme{scheme};  // a wrong name is told before weights are read
  for (size_t i = 0; i < study.schemes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (attention_group(study.schemes[i]) == attention_group(study.schemes[j])) {
        throw UsageError("--schemes: expected different schemes, found \"{}\" twice", study.schemes[i]);
      }
    }
  }
  if (flags.region) study.queries.region = parse_region(*flags.region);
  if (flags.word) study.queries.word = *flags.word;
  if (flags.queries) {
    parse_queries(*flags.queries, study.queries);
  } else if (!study.queries.region && !study.queries.word) {
    study.queries.last = true;
  }
  study.layers = flags.layers;
  study.heads = flags.heads;
  study.probe = flags.probe;
  study.top_k = flags.top_k;
  study.max_new_tokens = flags.max_new_tokens;
  if (study.queries.generated && study.max_new_tokens < 1) {
    throw UsageError("--queries generated: expected --max-new-tokens, the number of tokens to generate");
  }
  study.text_lengths = flags.text_lengths;
  if (study.text_lengths.empty() != !flags.distractor) {
    throw UsageError("expected --distractor and --text-lengths together");
  }
  for (size_t i = 1; i < study.text_lengths.size(); ++i) {
    if (study.text_lengths[i] <= study.text_lengths[i - 1]) {
      throw UsageError("--text-lengths: expected ascending numbers from 0 on");
    }
  }
  study.kept = parse_kept_rows(flags.keep);
  if (flags.sinks) study.sinks = SinkOptions{flags.null_draws, flags.sink_times, seed};
  if (flags.drift) study.drift = DriftOptions{flags.null_draws, seed};
  study.progress = [](const std::string& what) { log_info("{}", what); };
  return study;
}

/// Pictures of the file's own kinds, each as PNG and SVG.
void draw(const AttentionFlags& flags, const std::filesystem::path& folder, const AttentionResult& study,
          const AttentionStudyOptions& options, bool force) {
  FigureSelection selection;
  selection.average = flags.average;
  const auto both = [&](const std::string& kind, const std::string& name) {
    for (const char* extension : {".png", ".svg"}) {
      plot_result(flags.output, kind, folder / (name + extension), force, selection);
    }
    log_info("figure written to {}", (folder / (name + ".png")).string());
  };
  if (attention_maps_apply(ResultReader(flags.output))) {
    for (const std::string& set : study.query_sets) {
      selection.queries = set;
      both("attention-maps", set + "-to-thumbnail");
    }
  }
  selection.queries.clear();
  if (!options.text_lengths.empty()) both("attention-fading", "fading");
  if (options.sinks) both("sinks", "sinks");
  if (options.drift) both("drift", "drift");
  if (std::isfinite(study.schemes.front().number("visual_share").over_inputs.mean)) {
    both("attention-layers", "visual-share-by-layer");
  }
}

int take_part(AttentionFlags flags, const Invocation& invocation, DealtWork& work, const Launch& launch) {
  CommonSettings settings = invocation.settings;
  settings.device = own_device(launch, settings.device);
  if (flags.schemes.empty()) flags.schemes = compared_schemes(flags.input);
  AttentionStudyOptions study = study_options(flags, settings.seed);
  if (flags.plot && study.kept == KeptRows::kNone) {
    throw UsageError("--plot: maps are drawn from what is kept; expected --keep rows or means");
  }
  std::optional<OutputFolder> pictures;
  if (flags.plot && work.leads()) pictures.emplace(*flags.plot);
  const at::NoGradGuard no_grad;
  const AttentionSource source =
      read_attention_source(flags.input, settings, /*generates=*/flags.max_new_tokens > 0);
  std::shared_ptr<const Tokenizer> tokenizer;
  const auto the_tokenizer = [&]() -> const Tokenizer& {
    if (!tokenizer) tokenizer = load_tokenizer(source.model);
    return *tokenizer;
  };
  study.decode = [&](const std::vector<int64_t>& ids) {
    const bool tokens_only = flags.input.tokens && !study.queries.word;
    return tokens_only ? std::string() : decode_generated(the_tokenizer(), ids, false);
  };
  Provenance provenance = invocation.provenance();
  source.add_files(provenance);
  flags.input.add_inputs(provenance);
  if (!study.text_lengths.empty()) {
    Distractor read = read_distractor(*flags.distractor, the_tokenizer(), study.text_lengths.back());
    study.distractor = std::move(read.ids);
    for (const auto& file : read.files) provenance.add_input(file);
  }
  std::optional<ResultWriter> writer;
  if (work.leads()) writer.emplace(flags.output, provenance, settings.force);
  const int64_t layers = study.layers.empty()
                             ? static_cast<int64_t>(layers_with_qk(source.decoder->config).size())
                             : static_cast<int64_t>(study.layers.size());
  // A pass for each length of text but 0, which is the first pass's.
  const auto lengths =
      std::count_if(study.text_lengths.begin(), study.text_lengths.end(), [](int64_t n) { return n > 0; });
  std::optional<Progress> progress;
  study.layer_done = [&] { progress->advance(); };
  const auto begin_progress = [&](int64_t items) {
    progress.emplace("attention", "layers", layers * items * (1 + lengths) / work.world());
  };
  const WorkParts parts(flags.output, ".h5");
  const bool in_parts = flags.resume || !work.alone();
  AttentionResult result;
  if (in_parts) {
    result = study_in_parts(*source.decoder, source.inputs, study, work, parts,
                            study_subject(invocation, provenance), flags.resume, provenance,
                            writer ? &*writer : nullptr, begin_progress);
  } else {
    begin_progress(source.inputs.count * static_cast<int64_t>(study.schemes.size()));
    result = study_attention(*source.decoder, source.inputs, study, *writer);
  }
  progress->finish();
  if (!work.leads()) return 0;
  write_attention_table(*writer, result, study);
  writer->attribute("/attention", "sources", name_of(source.model));
  writer->commit();
  parts.remove();
  if (settings.json) {
    print_attention_json(result, study, flags.output);
  } else if (settings.csv) {
    print_attention_csv(result, study);
  } else {
    print_attention_text(result, study, flags.output, flags.markdown);
  }
  if (pictures) {
    draw(flags, pictures->path(), result, study, settings.force);
    pictures->keep();
  }
  return 0;
}

int run(const AttentionFlags& flags, const Invocation& invocation) {
  const Launch launch = start_process(invocation.common);
  return share_work(launch, flags.processes, "; what was measured is kept, --resume goes on with it",
                    [&](DealtWork& work) { return take_part(flags, invocation, work, launch); });
}

}  // namespace

}  // namespace attention

extern const Command kAttention;
const Command kAttention = make_command<attention::AttentionFlags>(
    "attention",
    "Measures where a model's heads look under each scheme: rows, maps, and numbers with intervals.",
    "ropescope attention --decoder SmolLM2.gguf --image photo.jpg --prompt \"What is shown?\" --schemes 'vanilla;id-align' --queries text --output attention.h5",
    kRunsModel | kStreams | kDraws | kWrites | kTables, attention::run);

}  // namespace ropescope::app
