#include "ropescope/io/dataset_description.h"

#include <algorithm>

#include <fnmatch.h>

namespace ropescope {

namespace {

struct Row {
  const char* pattern;  ///< of fnmatch; * stands for any text, slashes too
  DatasetDescription description;
};

constexpr const char* kLowEnd = "lower end of the 95% interval; NaN where none can be given";
constexpr const char* kHighEnd = "upper end of the 95% interval; NaN where none can be given";
constexpr const char* kVisualShare = "attention on visual tokens, a share of 1";
constexpr const char* kUniformShare =
    "what uniform attention would give: the share of visible keys that are visual";
constexpr const char* kModality = "0 text, 1 image or thumbnail, 2 high-resolution, 3 newline, 4 video";
constexpr const char* kRaster = "number of the picture part that the token belongs to, from 0; -1 text";

/// The first that matches counts, so the narrower stand first.
const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
      {"/provenance/inputs/name", {"input", "text", "file names of the inputs"}},
      {"/provenance/inputs/bytes", {"input", "byte", "their sizes"}},
      {"/provenance/inputs/sha256", {"input", "text", "their SHA-256 in hexadecimal"}},

      {"/texts/name", {"text", "text", "names of the texts that were used"}},
      {"/texts/tokens", {"text", "token", "tokens used of each text"}},
      {"/pairs/q", {"pair, channel", "1", "query of the pair, before rotation"}},
      {"/pairs/k", {"pair, channel", "1", "key of the pair, before rotation"}},
      {"/pairs/text", {"pair", "1", "text that the pair was drawn from, an index into /texts"}},
      {"/pairs/layer", {"pair", "1", "layer of the pair"}},
      {"/pairs/head", {"pair", "1", "query head of the pair"}},
      {"/pairs/query", {"pair", "token", "position of the query in its text"}},
      {"/pairs/key", {"pair", "token", "position of the key in its text"}},
      {"/moments/mean_q", {"layer, head, channel", "1", "mean query over all tokens, before rotation"}},
      {"/moments/mean_k", {"layer, head, channel", "1", "mean key over all tokens, before rotation"}},
      {"/moments/count", {"layer, head", "token", "tokens behind the moments; 0: not measured"}},
      {"/moments/cov_q",
       {"layer, head, channel, channel_2", "1", "covariance of the query's channels, divided by count"}},
      {"/moments/cov_k",
       {"layer, head, channel, channel_2", "1", "covariance of the key's channels, divided by count"}},
      {"/moments/text_mean_q", {"text, layer, head, channel", "1", "mean query of each text, for intervals"}},
      {"/moments/text_mean_k", {"text, layer, head, channel", "1", "mean key of each text, for intervals"}},
      {"/moments/text_count", {"text", "token", "tokens behind text_mean_q and text_mean_k"}},
      {"/profile/distance", {"distance", "token", "query's position minus the key's"}},
      {"/profile/count", {"distance", "1", "pairs of tokens at that distance, over all texts"}},
      {"/profile/mean",
       {"layer, head, distance", "1",
        "mean inner product of real pairs at that distance under the checkpoint's own rotation, not divided "
        "by sqrt(head_dim)"}},
      {"/profile/stderr",
       {"layer, head, distance", "1",
        "standard error of the mean, cluster-robust over texts; NaN below two texts"}},

      {"/decay/distance", {"distance", "token", "distance m that queries and keys are rotated to"}},
      {"/decay/theta", {"theta", "1", "rotary base"}},
      {"/decay/mean",
       {"theta, distance", "1", "mean of q^T R(m) k over pairs (or moments), not divided by sqrt(head_dim)"}},
      {"/decay/ci95_low", {"theta, distance", "1", kLowEnd}},
      {"/decay/ci95_high", {"theta, distance", "1", kHighEnd}},
      {"/decay/std",
       {"theta, distance", "1",
        "standard deviation of the inner products of single pairs (n in the denominator, not n - 1)"}},
      {"/decay/by_layer",
       {"theta, layer, distance", "1", "mean inner product in each layer; NaN where no pair fell"}},
      {"/decay/by_layer_ci95_low", {"theta, layer, distance", "1", kLowEnd}},
      {"/decay/by_layer_ci95_high", {"theta, layer, distance", "1", kHighEnd}},
      {"/decay/by_head",
       {"theta, layer, head, distance", "1", "mean inner product in each head; NaN where no pair fell"}},
      {"/decay/coefficient_a",
       {"layer, head, frequency", "1", "mean of q_i k_i + q_i+h k_i+h: the cosine's part of frequency i"}},
      {"/decay/coefficient_b",
       {"layer, head, frequency", "1", "mean of the cross terms of pair i: the sine's part of frequency i"}},
      {"/decay/coefficient_a_by_theta",
       {"theta, layer, head, frequency", "1", "coefficient_a of the samples taken anew under each base"}},
      {"/decay/coefficient_b_by_theta",
       {"theta, layer, head, frequency", "1", "coefficient_b of the samples taken anew under each base"}},
      {"/decay/count", {"layer, head", "1", "pairs (or tokens, from moments) behind each head"}},
      {"/decay/abel_bound",
       {"theta, distance", "1",
        "bound on |mean| by Abel's transformation (eq. 18), of the overall coefficients"}},
      {"/decay/normalised",
       {"theta, distance", "1", "mean divided by the mean of |q||k|: a cosine, -1 to 1; NaN without norms"}},
      {"/decay/relative", {"theta, distance", "1", "mean at m divided by the mean at 0"}},
      {"/decay/band_contribution",
       {"theta, band, distance", "1",
        "parts of the mean by band of log-frequency, 0 turns fastest; they sum to it"}},
      {"/decay/band_share",
       {"theta, band, distance", "1",
        "share of each band in the fall since distance 0; they sum to 1; NaN where nothing fell"}},
      {"/decay/band_frequency",
       {"theta, band, end", "radian per token", "fastest and slowest angular frequency of each band"}},

      {"/simulation/mean", {"mean", "1", "mean of every channel of query and key"}},
      {"/simulation/theta", {"theta", "1", "rotary base"}},
      {"/simulation/distance", {"distance", "token", "distance m"}},
      {"/simulation/average", {"mean, theta, distance", "1", "mean of q^T R(m) k over the trials"}},
      {"/simulation/expected", {"mean, theta, distance", "1", "the same in closed form"}},
      {"/simulation/std", {"mean, theta, distance", "1", "sample standard deviation of one trial"}},
      {"/simulation/variance", {"mean, theta, distance", "1", "square of std in closed form"}},

      {"/positions*/coordinates", {"axis, token", "position id", "position ids; axes t, or t, h, w"}},
      {"/positions*/modality", {"token", "1", kModality}},
      {"/positions*/raster", {"token", "1", kRaster}},
      {"/positions*/anchors",
       {"axis, token", "position id", "id that a query takes against keys of the other modality"}},
      {"/positions*/segments", {"segment", "text", "segments of the layout, in its own notation"}},
      {"/rotary*/cos", {"head, token, frequency", "1", "cosine of each angle; one head serves all"}},
      {"/rotary*/sin", {"head, token, frequency", "1", "sine of each angle; one head serves all"}},
      {"/rotary*/inv_freq", {"frequency", "radian per position id", "angular frequencies"}},
      {"/rotary*/axis", {"head, frequency", "1", "axis of each frequency: 0 t, 1 h, 2 w"}},
      {"/bias*", {"head, query, key", "1", "ALiBi's bias, added to the score"}},
      {"/criteria/scheme", {"run", "text", "scheme of each run"}},
      {"/criteria/layout", {"run", "text", "layout of each run"}},
      {"/criteria/visual_text_collisions", {"run", "token", "visual tokens on the id of a text token"}},
      {"/criteria/visual_visual_collisions", {"run", "1", "pairs of visual tokens on one id"}},
      {"/criteria/visual_tokens_at_or_after_following_text",
       {"run", "token", "visual tokens whose id is not below that of the text after them"}},
      {"/criteria/visual_tokens_at_or_before_preceding_text",
       {"run", "token", "visual tokens whose id is not above that of the text before them"}},
      {"/criteria/affine_residual",
       {"run", "position id",
        "largest distance of a visual token's ids from the best affine map of its place"}},
      {"/criteria/affine_rank", {"run", "1", "dimensions of a picture that the map keeps"}},
      {"/criteria/affine_rank_needed", {"run", "1", "dimensions that the picture has"}},
      {"/criteria/growth_per_visual_token",
       {"run", "position id", "by how much a visual token moves the text behind it on"}},
      {"/criteria/frequency_bin_coverage/*",
       {"run", "1", "share of the bins of log-frequency that this axis has channels in"}},
      {"/criteria/coherent", {"run", "1", "1: positional coherence holds, 0: not"}},
      {"/criteria/full_frequency", {"run", "1", "1: every axis covers all frequencies, 0: not"}},
      {"/criteria/text_prior",
       {"run", "1", "1: text is placed and rotated as in the language model, 0: not"}},
      {"/misalignment/scheme", {"run", "text", "scheme of each run"}},
      {"/misalignment/layout", {"run", "text", "layout of each run"}},
      {"/misalignment/tokens", {"run", "token", "high-resolution tokens"}},
      {"/misalignment/inherits", {"run", "1", "1: they take the ids of thumbnail tokens, 0: not"}},
      {"/misalignment/same_as_nearest",
       {"run", "token", "high-resolution tokens that inherit from the nearest thumbnail token"}},
      {"/misalignment/row_differs",
       {"run", "token", "tokens that inherit from another row than the nearest"}},
      {"/misalignment/column_differs",
       {"run", "token", "tokens that inherit from another column than the nearest"}},
      {"/misalignment/column_differs_by_more_than_1",
       {"run", "token", "tokens that inherit from a column more than one away from the nearest"}},
      {"/misalignment/max_column_error", {"run", "thumbnail column", "largest distance of columns"}},
      {"/misalignment/not_overlapping_the_assigned_cell",
       {"run", "token", "tokens that do not touch the thumbnail cell that they inherit from"}},

      {"/prior/text_lengths", {"text_length", "token", "text tokens between the picture and the query"}},
      {"/prior/table/scheme", {"scheme", "text", "position schemes, best first"}},
      {"/prior/table/number",
       {"number", "text", "names of the numbers; the attributes of /prior explain them"}},
      {"/prior/table/mean",
       {"scheme, number", "1", "mean over the measured heads; NaN where it does not apply"}},
      {"/prior/table/ci95_low", {"scheme, number", "1", kLowEnd}},
      {"/prior/table/ci95_high", {"scheme, number", "1", kHighEnd}},
      {"/prior/layout/modality", {"token", "1", kModality}},
      {"/prior/layout/raster", {"token", "1", kRaster}},
      {"/prior/layout/row", {"token", "1", "row of the token in its picture part; -1 text"}},
      {"/prior/layout/column", {"token", "1", "column of the token in its picture part; -1 text"}},
      {"/prior/*/logits",
       {"key", "1",
        "expected inner product with the query, mean over heads, not divided by sqrt(head_dim); NaN: hidden"}},
      {"/prior/*/logits_by_layer", {"layer, key", "1", "the same for each layer"}},
      {"/prior/*/logits_by_head", {"layer, head, key", "1", "the same for each head"}},
      {"/prior/*/attention",
       {"key", "1", "softmax of each head's expected scores, mean over heads; 0: hidden from the query"}},
      {"/prior/*/attention_by_layer", {"layer, key", "1", "the same for each layer"}},
      {"/prior/*/attention_by_head", {"layer, head, key", "1", "the same for each head"}},
      {"/prior/*/fading/visual_share", {"text_length", "1", kVisualShare}},
      {"/prior/*/fading/ci95_low", {"text_length", "1", kLowEnd}},
      {"/prior/*/fading/ci95_high", {"text_length", "1", kHighEnd}},
      {"/prior/*/fading/uniform_share", {"text_length", "1", kUniformShare}},
      {"/prior/*/fading/by_head", {"text_length, layer, head", "1", "visual_share of each head"}},
      {"/prior/*/by_head/*",
       {"layer, head", "1", "this number of the table for each head; NaN: not measured"}},
      {"/prior/*/query_index", {"query", "token", "the token that looks"}},

      {"/attention/table/scheme", {"scheme", "text", "position schemes"}},
      {"/attention/table/number",
       {"number", "text", "names of the numbers; the attributes of /attention explain them"}},
      {"/attention/table/mean", {"scheme, number", "1", "mean over inputs, heads and queries"}},
      {"/attention/table/ci95_low", {"scheme, number", "1", kLowEnd}},
      {"/attention/table/ci95_high", {"scheme, number", "1", kHighEnd}},
      {"/attention/table/count", {"scheme, number", "1", "independent values behind the interval"}},
      {"/attention/table/by_input", {"scheme, number, input", "1", "mean of each input"}},
      {"/attention/text_lengths", {"text_length", "token", "text tokens between the picture and the query"}},
      {"/attention/inputs/name", {"input", "text", "names of the inputs"}},
      {"/attention/inputs/*/modality", {"token", "1", kModality}},
      {"/attention/inputs/*/raster", {"token", "1", kRaster}},
      {"/attention/inputs/*/row", {"token", "1", "row of the token in its picture part; -1 text"}},
      {"/attention/inputs/*/column", {"token", "1", "column of the token in its picture part; -1 text"}},
      {"/attention/inputs/*/block", {"token", "1", "picture that the token belongs to, from 0; -1 text"}},
      {"/attention/inputs/*/partner",
       {"token", "1", "thumbnail token that shows the same part of the picture; -1 none"}},
      {"/attention/inputs/*/input_ids", {"token", "1", "token ids"}},
      {"/attention/inputs/*/picture-*",
       {"row, column, colour", "1", "the picture, made small, red, green and blue from 0 to 255"}},
      {"/attention/*/fading/visual_share", {"text_length", "1", kVisualShare}},
      {"/attention/*/fading/ci95_low", {"text_length", "1", kLowEnd}},
      {"/attention/*/fading/ci95_high", {"text_length", "1", kHighEnd}},
      {"/attention/*/fading/count", {"text_length", "1", "independent values behind the interval"}},
      {"/attention/*/fading/uniform_share", {"text_length", "1", kUniformShare}},
      {"/attention/*/generated", {"generated", "1", "ids of the tokens that the model generated"}},
      {"/attention/*/rows",
       {"layer, head, query, key", "1", "attention: softmax over the keys that the query sees, 0 elsewhere"}},
      {"/attention/*/means/*", {"layer, head, key", "1", "mean attention of this set of queries"}},
      {"/attention/*/sets/*", {"set", "token", "tokens of this set of queries"}},
      {"/attention/*/alignment/query_index",
       {"query", "token", "the asked and the evenly spread high-resolution tokens, for the datasets beside"}},
      {"/attention/*/query_index", {"query", "token", "tokens that look"}},
      {"/attention/*/key_index", {"key", "token", "tokens that are looked at"}},
      {"/attention/*/layer_index", {"layer", "1", "layers that were measured"}},
      {"/attention/*/head_index", {"head", "1", "query heads that were measured"}},
      {"/attention/*/text_distance",
       {"query", "token", "text tokens since the last visual token; NaN without one and for visual queries"}},
      {"/attention/*/uniform_share", {"query", "1", kUniformShare}},
      {"/attention/*/visual_share", {"layer, head, query", "1", kVisualShare}},
      {"/attention/*/thumbnail_share", {"layer, head, query", "1", "attention on thumbnail tokens"}},
      {"/attention/*/high_res_share", {"layer, head, query", "1", "attention on high-resolution tokens"}},
      {"/attention/*/sink_first",
       {"layer, head, query", "1", "sum over the first 4 tokens of max(0, attention - 1/visible keys)"}},
      {"/attention/*/sink_visual",
       {"layer, head, query", "1", "largest attention on one visual token, minus 1/visible keys"}},
      {"/attention/*/entropy", {"layer, head, query", "nat", "entropy of the attention row"}},
      {"/attention/*/token_distance",
       {"layer, head, query", "token", "mean |query - key|, weighted by attention"}},
      {"/attention/*/id_distance",
       {"layer, head, query", "position id", "the same in position ids, the largest difference of the axes"}},
      {"/attention/*/partner_share",
       {"layer, head, query", "1",
        "share of the thumbnail token that shows the same place in the attention on the thumbnail"}},
      {"/attention/*/partner_rank",
       {"layer, head, query", "1", "its rank there, 1 first, ties in the middle"}},
      {"/attention/*/hit_top*",
       {"layer, head, query", "1", "1 where that rank is at most this number, else 0"}},

      {"/trace/input_ids", {"text, token", "1", "token ids"}},
      {"/trace/attention_mask", {"text, token", "1", "1 for tokens, 0 for padding"}},
      {"/trace/position_ids", {"axis, text, token", "position id", "position ids"}},
      {"/trace/inputs_embeds", {"text, token, channel", "1", "what enters the first layer"}},
      {"/trace/hidden/*",
       {"text, token, channel", "1", "hidden states: 0 enters the first layer, n leaves the n-th"}},
      {"/trace/final_hidden", {"text, token, channel", "1", "hidden states behind the last norm"}},
      {"/trace/logits", {"text, token, vocabulary", "1", "logits of the next token"}},
      {"/trace/q/*", {"text, head, token, channel", "1", "queries of this layer, before rotation"}},
      {"/trace/k/*", {"text, head, token, channel", "1", "keys of this layer, before rotation"}},
      {"/trace/q_rotated/*", {"text, head, token, channel", "1", "queries of this layer, rotated"}},
      {"/trace/k_rotated/*", {"text, head, token, channel", "1", "keys of this layer, rotated"}},
      {"/trace/q_anchored/*",
       {"text, head, token, channel", "1", "queries of this layer, rotated to their anchors (DIPE)"}},
      {"/trace/attention/*", {"text, head, query, key", "1", "attention of this layer"}},
      {"/trace/output/*", {"text, head, token, channel", "1", "values, weighted by attention"}},
      {"/trace/generated", {"text, token", "1", "ids of the tokens that the model generated"}},
      {"/trace/vision_hidden/*",
       {"tile, token, channel", "1", "hidden states of the vision tower: 0 enters its first layer"}},
      {"/trace/vision_attention/*", {"tile, head, query, key", "1", "attention of this layer of the tower"}},
      {"/trace/vision_final_hidden", {"tile, token, channel", "1", "what leaves the tower"}},
      {"/trace/vision_pooled", {"tile, channel", "1", "the tower's pooled output"}},
      {"/trace/vision_feature", {"tile, token, channel", "1", "the layer that a language model gets"}},

      {"/image/*/rgb", {"row, column, colour", "1", "the decoded image, red, green and blue from 0 to 255"}},
      {"/image/*/tiles", {"tile, row, column, colour", "1", "its tiles, the thumbnail first, from 0 to 255"}},
      {"/image/*/pixel_values", {"tile, colour, row, column", "1", "what the vision tower gets"}},
      {"/tensors/*", {"", "1", "tensor of the checkpoint, as float32; stored_dtype says what it was"}},

      {"/train/step", {"step", "1", "optimiser steps, from 1"}},
      {"/train/loss", {"step", "nat per token", "mean loss over the step's targets, before the update"}},
      {"/train/learning_rate", {"step", "1", "learning rate of the update"}},
      {"/train/grad_norm", {"step", "1", "norm of the gradient before clipping"}},
      {"/train/tokens_per_second", {"step", "token per second", "speed of the step on this machine"}},

      {"/miniature/scheme", {"run", "text", "position scheme of each row of the table"}},
      {"/miniature/theta", {"run", "1", "rotary base"}},
      {"/miniature/correspondence_weight", {"run", "1", "weight of the correspondence targets in the loss"}},
      {"/miniature/seeds", {"run", "1", "models that were trained, each from a seed of its own"}},
      {"/miniature/solved_runs", {"run", "1", "models that reached 90% of the answers"}},
      {"/miniature/steps_to_90", {"run", "step", "mean number of steps to 90%; NaN: none reached it"}},
      {"/miniature/*",
       {"run, bound", "1", "share of right answers over the seeds: mean, ends of its 95% interval"}},
      {"/curves/*/step", {"step", "1", "training steps"}},
      {"/curves/*", {"step, bound", "1", "share of right answers: mean, ends of its 95% interval"}},

      {"/evaluation/record", {"record", "1", "number of the question's record in the benchmark's file"}},
      {"/evaluation/score", {"record", "1", "score of the answer by the benchmark's rules; NaN: failed"}},
      {"/evaluation/tokens", {"record", "token", "tokens that were generated"}},
      {"/niah/count", {"depth, length", "1", "questions in the cell"}},
      {"/niah/mean", {"depth, length", "1", "mean score of the cell; NaN: nothing was asked"}},
      {"/niah/length_from", {"length", "token", "where each class of context lengths begins"}},
      {"/niah/depth_from", {"depth", "1", "where each class of depths begins, a share of the context"}},
      {"/long_context/text_lengths", {"text_length", "token", "text between the pictures and the question"}},
      {"/long_context/scheme", {"scheme", "text", "position schemes"}},
      {"/long_context/*/figure/percent", {"text_length", "%", "the benchmark's figure"}},
      {"/long_context/*/figure/ci95_low", {"text_length", "%", kLowEnd}},
      {"/long_context/*/figure/ci95_high", {"text_length", "%", kHighEnd}},
      {"/long_context/*/figure/drop",
       {"text_length", "percentage point", "the figure minus that of the shortest text"}},
      {"/long_context/*/figure/drop_low", {"text_length", "percentage point", kLowEnd}},
      {"/long_context/*/figure/drop_high", {"text_length", "percentage point", kHighEnd}},
      {"/long_context/*/figure/relative",
       {"text_length", "1", "the figure divided by that of the shortest text"}},
      {"/long_context/*/figure/units", {"text_length", "1", "independent units behind the interval"}},
      {"/long_context/*/fading/visual_share", {"text_length", "1", kVisualShare}},
      {"/long_context/*/fading/ci95_low", {"text_length", "1", kLowEnd}},
      {"/long_context/*/fading/ci95_high", {"text_length", "1", kHighEnd}},
      {"/long_context/*/fading/uniform_share", {"text_length", "1", kUniformShare}},
      {"/long_context/*/items/score", {"text_length, record", "1", "score of each question; NaN: failed"}},
      {"/long_context/*/items/visual_share", {"text_length, record", "1", kVisualShare}},
  };
  return all;
}

}  // namespace

std::vector<std::string> DatasetDescription::axes() const {
  std::vector<std::string> names;
  for (size_t begin = 0; begin < dimensions.size();) {
    const size_t end = std::min(dimensions.find(", ", begin), dimensions.size());
    names.push_back(dimensions.substr(begin, end - begin));
    begin = end + 2;
  }
  return names;
}

bool is_description_attribute(const std::string& name) {
  return std::any_of(std::begin(kDescriptionAttributes), std::end(kDescriptionAttributes),
                     [&](const char* known) { return name == known; });
}

std::optional<DatasetDescription> describe_dataset(const std::string& path) {
  for (const Row& row : rows()) {
    if (fnmatch(row.pattern, path.c_str(), 0) == 0) return row.description;
  }
  return std::nullopt;
}

bool is_timing_dataset(const std::string& path) {
  const std::optional<DatasetDescription> known = describe_dataset(path);
  return known && known->units.find("per second") != std::string::npos;
}

}  // namespace ropescope
