#include "evaluate/report_maps.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include <fmt/format.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/eval/answerer.h"
#include "ropescope/probe/attention_probe.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/vision/preprocess.h"

#include "attention/attention_pictures.h"
#include "inputs/loaded_model.h"
#include "inputs/rope_flags.h"

namespace ropescope::app::report {

namespace {

namespace fs = std::filesystem;
using eval::ResultRun;

/// Share of the values that lie below the bright end of the colours: a few tokens that take most of the
/// attention would leave all others dark.
constexpr double kTopShare = 0.995;

/// Attention on one grid of tokens over one picture.
struct GridMap {
  size_t picture = 0;  ///< of the item
  Modality grid = Modality::kImage;
  int64_t rows = 0, columns = 0;
  std::vector<double> values;
  double share = 0;  ///< sum of the values
};

std::vector<GridMap> grid_maps(const Layout& layout, const at::Tensor& attention_S, size_t pictures) {
  const TokenPlaces places = token_places(layout);
  const auto* attention = attention_S.const_data_ptr<double>();
  std::vector<GridMap> maps;
  for (size_t picture = 0; picture < pictures; ++picture) {
    for (const Modality grid : {Modality::kImage, Modality::kHighRes}) {
      GridMap map{picture, grid, 0, 0, {}, 0};
      const auto mine = [&](size_t i) {
        return places.block[i] == static_cast<int64_t>(picture) && places.modality[i] == grid;
      };
      const auto tokens = static_cast<size_t>(places.tokens());
      for (size_t i = 0; i < tokens; ++i) {
        if (!mine(i)) continue;
        map.rows = std::max(map.rows, places.row[i] + 1);
        map.columns = std::max(map.columns, places.column[i] + 1);
      }
      if (map.rows == 0 || map.columns == 0) continue;
      map.values.assign(static_cast<size_t>(map.rows * map.columns), NAN);
      for (size_t i = 0; i < tokens; ++i) {
        if (!mine(i)) continue;
        map.values[static_cast<size_t>(places.row[i] * map.columns + places.column[i])] = attention[i];
        map.share += attention[i];
      }
      maps.push_back(std::move(map));
    }
  }
  return maps;
}

/// Attention of the last token on every token, mean over layers and heads, [T] float64.
at::Tensor last_row(const Decoder& decoder, const AttentionInput& input, const std::string& scheme) {
  const SequenceEncoding encoding(Scheme(scheme), input.layout, encoded_model(decoder.config));
  std::vector<bool> shown(static_cast<size_t>(decoder.config.num_hidden_layers), false);
  const std::vector<int64_t> layers = layers_with_qk(decoder.config);
  for (const int64_t layer : layers) shown[static_cast<size_t>(layer)] = true;
  at::Tensor sum;
  visit_attention_rows(decoder, input, encoding, {{input.tokens() - 1}, shown},
                       [&](int64_t, const at::Tensor& rows_HQS) {
                         const at::Tensor row = rows_HQS.select(1, 0).to(at::kDouble).mean(0);
                         sum = sum.defined() ? sum.add(row) : row;
                       });
  return sum.div(static_cast<double>(layers.size())).contiguous();
}

/// The flags that changed the model's rotation when the run was made.
RopeFlags rope_of(const ResultRun& run) {
  const Json theta = run.summary.value("rope_theta", Json()),
             scaling = run.summary.value("rope_scaling", Json());
  RopeFlags rope;
  if (theta.is_number()) rope.theta = theta.get<double>();
  if (scaling.is_string()) rope.scaling = scaling.get<std::string>();
  return rope;
}

/// A model as a run asked it.
class AskedModel {
 public:
  AskedModel(const std::string& model, const ResultRun& run, const CommonSettings& settings) {
    if (model_kind(model) != ModelKind::kVlm) refuse_images("maps", model);
    const VlmConfig config = read_vlm_config(model);
    DecoderConfig decoder = read_decoder_config(model);
    override_ropes(decoder, rope_of(run));
    loaded_.emplace(model, decoder, config, load_options(settings, /*with_lm_head=*/false));
    tokenizer_ = load_tokenizer(model);
    options_.reader = std::make_shared<const PictureReader>(model);
    options_.image_token_id = config.tokens.image;
    const std::string chat = json_string_or(run.summary, "template", "none", run.name);
    auto own = read_chat_template(model, *tokenizer_, /*sees=*/true);
    const bool asked_own = own && own->origin == chat;
    options_.chat = asked_own ? PromptTemplate(std::move(*own), /*sees=*/true)
                              : PromptTemplate(parse_chat_template(chat));
    const Json system = run.summary.value("system", Json());
    if (system.is_string()) options_.system = system.get<std::string>();
  }

  const Decoder& decoder() const { return loaded_->decoder(); }

  /// The run's question as the model gets it.
  AttentionInput input(const std::string& prompt, const std::vector<at::Tensor>& pictures) const {
    std::vector<NamedMedia> media;
    for (MediaItem& item : options_.reader->images(pictures)) media.push_back({std::move(item), "", {}});
    const at::Tensor ids =
        at::tensor(eval::question_ids(*tokenizer_, options_, prompt, plans_of(media)), at::kLong);
    return attention::prompt_input(loaded_->vlm(), ids.unsqueeze(0), media);
  }

 private:
  std::optional<LoadedModel> loaded_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  eval::AnswererOptions options_;
};

const Json* sample_of(const ResultRun& run, int64_t record) {
  const auto found = std::lower_bound(
      run.samples.begin(), run.samples.end(), record,
      [](const Json& sample, int64_t wanted) { return sample.at("record").get<int64_t>() < wanted; });
  return found != run.samples.end() && found->at("record") == record ? &*found : nullptr;
}

/// Items of a set that get maps: those with pictures, the ones on which runs differ in front.
std::vector<int64_t> chosen_records(const eval::Report& report, const eval::PageSet& set,
                                    const MapRequest& request) {
  std::vector<int64_t> differing, others;
  for (const auto& [record, item] : set.items) {
    if (item.pictures.empty() || (!request.records.empty() && request.records.count(record) == 0)) continue;
    std::set<std::string> outputs;
    for (const size_t run : set.runs) {
      if (const Json* sample = sample_of(report.runs[run], record))
        outputs.insert(sample->value("output", ""));
    }
    (outputs.size() > 1 ? differing : others).push_back(record);
  }
  differing.insert(differing.end(), others.begin(), others.end());
  if (request.records.empty() && static_cast<int64_t>(differing.size()) > request.count) {
    differing.resize(static_cast<size_t>(request.count));
  }
  return differing;
}

/// Where the colours of one grid end, for all runs.
double top_of(const std::vector<const GridMap*>& maps) {
  std::vector<double> all;
  for (const GridMap* map : maps) {
    std::copy_if(map->values.begin(), map->values.end(), std::back_inserter(all),
                 [](double value) { return std::isfinite(value); });
  }
  const auto place =
      all.begin() + static_cast<std::ptrdiff_t>(kTopShare * static_cast<double>(all.size() - 1));
  std::nth_element(all.begin(), place, all.end());
  return *place;
}

std::string caption(const GridMap& map, size_t pictures, double top) {
  return fmt::format("{}{}, {} × {} tokens: {:.2f} % of the attention; yellow: {:.3g} % or more on one token",
                     pictures > 1 ? fmt::format("picture {}, ", map.picture + 1) : "",
                     map.grid == Modality::kImage ? "thumbnail" : "high resolution", map.rows, map.columns,
                     100 * map.share, 100 * top);
}

/// Maps of one set of runs.
class SetMaps {
 public:
  SetMaps(const eval::Report& report, const MapRequest& request, const CommonSettings& settings,
          eval::PageSet& set)
      : report_(report),
        request_(request),
        settings_(settings),
        set_(set),
        records_(set.records),
        places_(eval::places_by_number(*records_)),
        chosen_(chosen_records(report, set, request)) {}

  const std::vector<int64_t>& chosen() const { return chosen_; }

  void draw(eval::ReportPage& page) {
    // Runs of one model under one setting of its positions are asked together.
    std::map<std::string, std::vector<size_t>> groups;
    for (const size_t run : set_.runs) {
      const Json& summary = report_.runs[run].summary;
      if (!summary.value("images", true)) {
        set_.notes.push_back(
            fmt::format("No attention maps of {}: it was asked without pictures.", report_.runs[run].name));
        continue;
      }
      if (report_.runs[run].distractor_tokens > 0) {
        set_.notes.push_back(fmt::format("No attention maps of {}: its prompts hold more than the question.",
                                         report_.runs[run].name));
        continue;
      }
      Json key = Json::array({model_of(run)});
      for (const char* name : {"rope_theta", "rope_scaling", "template", "system"}) {
        key.push_back(summary.value(name, Json()));
      }
      groups[key.dump()].push_back(run);
    }
    for (const auto& [key, runs] : groups) ask(runs);
    for (const int64_t record : chosen_) add(record, page);
    set_.notes.push_back(fmt::format(
        "{} items have attention maps: attention of the prompt's last token, mean over layers and heads, on the tokens of the picture.",
        chosen_.size()));
  }

 private:
  const std::string& model_of(size_t run) const {
    return request_.models.size() == 1 ? request_.models.front() : request_.models[run];
  }

  std::vector<at::Tensor> pictures_of(int64_t record) const {
    if (!records_->clips(places_.at(record)).empty()) {
      throw UsageError("--maps: record {} is about a clip; maps are drawn of pictures only", record);
    }
    std::vector<at::Tensor> pictures;
    for (const std::string& key : records_->pictures(places_.at(record))) {
      pictures.push_back(eval::page_pixels(records_->picture(key), "picture " + key));
    }
    return pictures;
  }

  void ask(const std::vector<size_t>& runs) {
    const AskedModel model(model_of(runs.front()), report_.runs[runs.front()], settings_);
    Progress progress("attention maps", "items", static_cast<int64_t>(chosen_.size()));
    for (const int64_t record : chosen_) {
      const std::vector<at::Tensor> pictures = pictures_of(record);
      std::string prompt;
      AttentionInput input;
      for (const size_t run : runs) {
        const Json* sample = sample_of(report_.runs[run], record);
        if (sample == nullptr) continue;
        const auto text = json_string(*sample, "prompt", report_.runs[run].name);
        if (!input.input_ids.defined() || text != prompt) input = model.input(text, pictures);
        prompt = text;
        const Json scheme = report_.runs[run].summary.value("scheme", Json());
        const at::Tensor row =
            last_row(model.decoder(), input, scheme.is_string() ? scheme.get<std::string>() : "vanilla");
        maps_[record][run] = grid_maps(input.layout, row.cpu(), pictures.size());
      }
      progress.advance();
    }
  }

  void add(int64_t record, eval::ReportPage& page) {
    const auto found = maps_.find(record);
    if (found == maps_.end()) return;
    std::vector<at::Tensor> pictures;
    for (const at::Tensor& rgb : pictures_of(record)) {
      pictures.push_back(eval::scaled_down(rgb, request_.picture_pixels));
    }
    std::map<std::pair<size_t, Modality>, std::vector<const GridMap*>> same_grid;
    for (const auto& [run, maps] : found->second) {
      for (const GridMap& map : maps) same_grid[{map.picture, map.grid}].push_back(&map);
    }
    for (const auto& [run, maps] : found->second) {
      for (const GridMap& map : maps) {
        const double top = top_of(same_grid[{map.picture, map.grid}]);
        const at::Tensor drawn =
            eval::cells_over(pictures[map.picture], map.rows, map.columns, map.values, top);
        page.maps[{run, record}].push_back({page.pictures.size(), caption(map, pictures.size(), top)});
        page.pictures.push_back({eval::picture_uri(drawn), drawn.size(1), drawn.size(0)});
      }
    }
  }

  const eval::Report& report_;
  const MapRequest& request_;
  const CommonSettings& settings_;
  eval::PageSet& set_;
  std::shared_ptr<eval::Records> records_;
  std::map<int64_t, int64_t> places_;
  std::vector<int64_t> chosen_;
  std::map<int64_t, std::map<size_t, std::vector<GridMap>>> maps_;  // by record and run
};

void check_models(const eval::Report& report, const std::vector<std::string>& models) {
  if (models.size() != 1 && models.size() != report.runs.size()) {
    throw UsageError("--model: expected one model for all runs or one for each of the {} runs, found {}",
                     report.runs.size(), models.size());
  }
  std::map<std::string, Json> digests_of;
  for (size_t i = 0; i < report.runs.size(); ++i) {
    const std::string& model = models[models.size() == 1 ? 0 : i];
    const std::string name = name_of(model),
                      asked = json_string_or(report.runs[i].summary, "model", "", report.runs[i].name);
    if (!asked.empty() && name != asked) {
      throw UsageError("--model: run {} asked {}, found {}; give one model for each run, in their order",
                       report.runs[i].name, asked, name);
    }
    const Json then = report.runs[i].summary.value("model_files", Json::object());
    if (then.empty()) continue;  // (a run of a version that did not keep them)
    if (digests_of.count(model) == 0) digests_of[model] = model_digests(model);
    for (const auto& [file, sha256] : digests_of[model].items()) {
      if (then.value(file, Json()) == sha256) continue;
      throw UsageError("--model {}: {} is not the file that run {} asked (SHA-256 {}, then {})", model, file,
                       report.runs[i].name, sha256.dump(), then.value(file, Json()).dump());
    }
  }
}

}  // namespace

void add_maps(const eval::Report& report, const MapRequest& request, const CommonSettings& settings,
              eval::ReportPage& page) {
  check_models(report, request.models);
  const at::NoGradGuard no_grad;
  std::set<int64_t> missing = request.records;
  bool any = false;
  for (eval::PageSet& set : page.sets) {
    if (!set.records) continue;
    SetMaps maps(report, request, settings, set);
    for (const int64_t record : maps.chosen()) missing.erase(record);
    any = any || !maps.chosen().empty();
    if (!maps.chosen().empty()) maps.draw(page);
  }
  if (!missing.empty()) {
    throw UsageError("--map-records: no item of the page with a picture is record {}", *missing.begin());
  }
  if (!any)
    throw UsageError("--maps: no item of the page has a picture; expected --data with the runs' data");
}

}  // namespace ropescope::app::report
