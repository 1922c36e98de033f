// ropescope attention: where a model's heads look, row by row, under each scheme.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>

#include <ATen/core/grad_mode.h>

#include "ropescope/analysis/attention_file.h"
#include "ropescope/analysis/attention_study.h"
#include "ropescope/analysis/figures_attention.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/text/generated_text.h"

#include "attention_input.h"
#include "attention_report.h"
#include "image_input.h"

namespace ropescope::app {

namespace {

std::vector<po::options_description> options() {
  po::options_description rows("Attention", 110, 55);
  rows.add_options()  //
      ("schemes", po::value<std::string>()->default_value("vanilla;id-align"),
       "position encodings, separated by ; (or , where no scheme has commas)")  //
      ("queries", po::value<std::string>(),
       "the tokens that look: last, text (the question's), generated, high (all high-resolution ones), token "
       "indices like 5,10-12; last unless --region or --word say who")  //
      ("region", po::value<std::string>(),
       "x,y,width,height in pixels of the image: its high-resolution tokens look")   //
      ("word", po::value<std::string>(), "a word of the question: its tokens look")  //
      ("max-new-tokens", po::value<int64_t>()->default_value(0),
       "tokens to generate greedily for --queries generated")                        //
      ("layers", po::value<std::string>(), "only these layers, for example 0-3,31")  //
      ("heads", po::value<std::string>(), "only these query heads")                  //
      ("probe", po::value<int64_t>()->default_value(64),
       "high-resolution tokens, evenly spread, asked how they attend to their own thumbnail token")         //
      ("top-k", po::value<std::string>()->default_value("1,5"), "ranks that count as a hit on that token")  //
      ("keep", po::value<std::string>()->default_value("rows"),
       "beside the numbers: rows (of every query), means (the mean row of each set of queries, enough for "
       "--plot), or numbers (nothing)");
  po::options_description context("Long context", 110, 55);
  context.add_options()  //
      ("distractor", po::value<std::string>(),
       "texts (as --texts of sample) put between image and question")  //
      ("text-lengths", po::value<std::string>(),
       "tokens of them, for example 0,1024,4096,16384: the fading curve");
  po::options_description output("Output", 110, 55);
  output.add_options()                                                                           //
      ("plot", po::value<std::string>(), "folder for pictures of what was asked (PNG and SVG)")  //
      ("average", po::value<std::string>()->default_value("all"),
       "of the maps: all (one map), heads (one a layer), layers (one a head), none")  //
      ("markdown", po::bool_switch(), "the table as Markdown")                        //
      ("output", po::value<std::string>(), "result file, for example attention.h5");
  std::vector<po::options_description> all = attention_input_options();
  for (const auto& group : {rows, context, output}) all.push_back(group);
  return all;
}

std::vector<int64_t> integers(const Arguments& arguments, const char* flag) {
  if (arguments.values.count(flag) == 0) return {};
  return parse_integer_list(arguments.get<std::string>(flag), flag);
}

AttentionStudyOptions study_options(const Arguments& arguments) {
  AttentionStudyOptions study;
  study.schemes = split_scheme_list(arguments.get<std::string>("schemes"));
  for (const std::string& scheme : study.schemes)
    Scheme{scheme};  // a wrong name is told before weights are read
  for (size_t i = 0; i < study.schemes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (attention_group(study.schemes[i]) == attention_group(study.schemes[j])) {
        throw UsageError("--schemes: expected different schemes, found \"{}\" twice", study.schemes[i]);
      }
    }
  }
  if (arguments.has("region")) study.queries.region = parse_region(arguments.get<std::string>("region"));
  if (arguments.has("word")) study.queries.word = arguments.get<std::string>("word");
  if (arguments.has("queries")) {
    parse_queries(arguments.get<std::string>("queries"), study.queries);
  } else if (!study.queries.region && !study.queries.word) {
    study.queries.last = true;
  }
  study.layers = integers(arguments, "layers");
  study.heads = integers(arguments, "heads");
  study.probe = arguments.get<int64_t>("probe");
  if (study.probe < 0) throw UsageError("--probe: expected at least 0, found {}", study.probe);
  study.top_k = integers(arguments, "top-k");
  if (*std::min_element(study.top_k.begin(), study.top_k.end()) < 1) {
    throw UsageError("--top-k: expected ranks from 1 on");
  }
  study.max_new_tokens = arguments.get<int64_t>("max-new-tokens");
  if (study.queries.generated && study.max_new_tokens < 1) {
    throw UsageError("--queries generated: expected --max-new-tokens, the number of tokens to generate");
  }
  study.text_lengths = integers(arguments, "text-lengths");
  if (study.text_lengths.empty() != !arguments.has("distractor")) {
    throw UsageError("expected --distractor and --text-lengths together");
  }
  for (size_t i = 0; i < study.text_lengths.size(); ++i) {
    if (study.text_lengths[i] < 0 || (i > 0 && study.text_lengths[i] <= study.text_lengths[i - 1])) {
      throw UsageError("--text-lengths: expected ascending numbers from 0 on");
    }
  }
  study.kept = parse_kept_rows(arguments.get<std::string>("keep"));
  study.progress = [](const std::string& what) { log_info("{}", what); };
  return study;
}

/// Pictures of the file's own kinds, each as PNG and SVG.
void draw(const std::string& result, const std::filesystem::path& folder, const AttentionResult& study,
          const AttentionStudyOptions& options, const Arguments& arguments, bool force) {
  std::filesystem::create_directories(folder);
  FigureSelection selection;
  selection.average = arguments.get<std::string>("average");
  const auto both = [&](const std::string& kind, const std::string& name) {
    for (const char* extension : {".png", ".svg"}) {
      plot_result(result, kind, folder / (name + extension), force, selection);
    }
    log_info("figure written to {}", (folder / (name + ".png")).string());
  };
  if (attention_maps_apply(ResultReader(result))) {
    for (const std::string& set : study.query_sets) {
      selection.queries = set;
      both("attention-maps", set + "-to-thumbnail");
    }
  }
  selection.queries.clear();
  if (!options.text_lengths.empty()) both("attention-fading", "fading");
  if (std::isfinite(study.schemes.front().number("visual_share").over_inputs.mean)) {
    both("attention-layers", "visual-share-by-layer");
  }
}

int run(const Arguments& arguments) {
  const CommonSettings settings = common_settings(arguments);
  const std::string output = required_text(arguments, "output");
  AttentionStudyOptions study = study_options(arguments);
  if (arguments.has("plot") && study.kept == KeptRows::kNone) {
    throw UsageError("--plot: maps are drawn from what is kept; expected --keep rows or means");
  }
  const at::NoGradGuard no_grad;
  const AttentionSource source = read_attention_source(arguments, settings);
  std::shared_ptr<const Tokenizer> tokenizer;
  const auto the_tokenizer = [&]() -> const Tokenizer& {
    if (!tokenizer) tokenizer = load_tokenizer(source.model);
    return *tokenizer;
  };
  study.decode = [&](const std::vector<int64_t>& ids) {
    const bool tokens_only = arguments.has("tokens") && !study.queries.word;
    return tokens_only ? std::string() : decode_generated(the_tokenizer(), ids, false);
  };
  if (!study.text_lengths.empty()) {
    study.distractor =
        read_distractor(arguments.get<std::string>("distractor"), the_tokenizer(), study.text_lengths.back());
  }
  Provenance provenance = make_provenance(arguments, settings);
  source.add_files(provenance);
  add_image_inputs(arguments, provenance);
  for (const char* flag : {"tokens", "layout-file"}) {
    if (arguments.has(flag)) provenance.add_input(arguments.get<std::string>(flag));
  }
  ResultWriter writer(output, provenance, settings.force);
  const AttentionResult result = study_attention(*source.decoder, source.inputs, study, writer);
  write_attention_table(writer, result, study);
  writer.commit();
  if (settings.json) {
    print_attention_json(result, study, output);
  } else if (settings.csv) {
    print_attention_csv(result, study);
  } else {
    print_attention_text(result, study, output, arguments.flag("markdown"));
  }
  if (arguments.has("plot")) {
    draw(output, arguments.get<std::string>("plot"), result, study, arguments, settings.force);
  }
  return 0;
}

}  // namespace

extern const Command kAttention;
const Command kAttention{
    "attention",
    "Measures where a model's heads look under each scheme: rows, maps, and numbers with intervals.",
    "ropescope attention --decoder SmolLM2.gguf --image photo.jpg --prompt \"What is shown?\" --schemes "
    "'vanilla;id-align' --queries text --output attention.h5",
    options, run};

}  // namespace ropescope::app
