// ropescope._core: positions, tables, criteria and prompts of live models for Python. What the arguments mean is said where
// users look, in the functions of python/ropescope/, which call these.
#include <map>
#include <optional>
#include <string>

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <ATen/ops/arange.h>
#include <c10/util/Exception.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/version.h"
#include "ropescope/rope/criteria.h"
#include "ropescope/rope/misalignment.h"
#include "ropescope/rope/rotation.h"

#include "arrays.h"
#include "placed_prompt.h"

namespace nb = nanobind;

namespace ropescope::python {

namespace {

/// Of a table and of the criteria, as the flags of `ropescope positions` have them.
struct Rotation {
  RopeConfig rope;
  int64_t head_dim = 128;
  std::optional<int64_t> kv_heads;
  int64_t context = 0;
};

Rotation rotation_of(const Scheme& scheme, std::optional<int64_t> head_dim, std::optional<int64_t> kv_heads,
                     std::optional<double> theta, const std::optional<std::string>& scaling,
                     int64_t context) {
  Rotation rotation;
  if (theta && !(*theta > 0)) throw UsageError("rope_theta: expected a number above 0, found {}", *theta);
  if (head_dim && (*head_dim < 2 || *head_dim % 2 != 0)) {
    throw UsageError("head_dim: expected an even number of channels, found {}", *head_dim);
  }
  if (scaling) rotation.rope = parse_rope_scaling(parse_json(*scaling, "rope_scaling"), {}, "rope_scaling");
  if (theta) rotation.rope.theta = *theta;
  rotation.head_dim = head_dim_of(scheme, head_dim);
  rotation.kv_heads = kv_heads;
  rotation.context = context;
  return rotation;
}

std::string canonical_layout(const std::string& text, bool json) {
  if (!json) return layout_text(parse_layout(text));
  const std::vector<Layout> layouts = layouts_from_json(parse_json(text, "layout"), "layout");
  if (layouts.size() != 1) throw InputError("layout: expected one layout, found {}", layouts.size());
  return layout_text(layouts.front());
}

nb::dict positions(const std::string& text, const std::string& layout, std::optional<int64_t> layer,
                   int64_t layers, int64_t generated) {
  const Scheme scheme(text);
  if (generated < 0) throw UsageError("generated: expected a number of tokens, found {}", generated);
  const Positions where = scheme.positions(parse_layout(layout), layer, layers);
  nb::dict result;
  result["rows"] = nb::cast(scheme.row_names());
  result["coordinates"] = array_of(where.coordinates);
  result["modality"] = array_of(where.modality);
  result["raster"] = array_of(where.raster);
  result["next"] = where.next;
  if (generated > 0) {
    result["generated"] = array_of(scheme.generated_positions(where, 0, generated));
  }
  if (scheme.anchored()) {
    result["anchors"] = array_of(where.anchors);
    result["next_anchor"] = where.next_anchor;
  }
  return result;
}

nb::dict rotary_tables(const std::string& text, const Given<double>& coordinates,
                       std::optional<int64_t> head_dim, std::optional<int64_t> kv_heads,
                       std::optional<double> theta, const std::optional<std::string>& scaling,
                       int64_t context) {
  const Scheme scheme(text);
  const Rotation rotation = rotation_of(scheme, head_dim, kv_heads, theta, scaling, context);
  const at::Tensor ids = tensor_of(coordinates);
  if (ids.dim() != 3 || ids.size(0) != scheme.axes()) {
    throw UsageError("position ids: expected [{}, batch, tokens] under {}, found {} dimensions with {} rows",
                     scheme.axes(), scheme.text(), ids.dim(), ids.dim() > 0 ? ids.size(0) : 0);
  }
  const double largest = ids.numel() > 0 ? ids.max().item<double>() : -1;
  const Frequencies frequencies = scheme.frequencies(
      rotation.rope, rotation.head_dim, kv_heads_of(scheme, rotation.kv_heads), context, largest + 1);
  const RotaryTable table = make_rotary_table(ids, frequencies);
  nb::dict result;
  result["cos"] = array_of(table.cos);
  result["sin"] = array_of(table.sin);
  result["inv_freq"] = array_of(frequencies.inv_freq);
  result["weights"] = array_of(frequencies.row_weights(scheme.axes()));
  if (!frequencies.weights.defined()) result["axis"] = array_of(frequencies.axis);
  result["attention_scale"] = frequencies.attention_scale;
  result["head_dim"] = frequencies.head_dim;
  return result;
}

std::string criteria(const std::string& text, const std::string& layout, std::optional<int64_t> head_dim,
                     std::optional<int64_t> kv_heads, std::optional<double> theta,
                     const std::optional<std::string>& scaling, int64_t context) {
  const Scheme scheme(text);
  const Layout tokens = parse_layout(layout);
  const Rotation rotation = rotation_of(scheme, head_dim, kv_heads, theta, scaling, context);
  CriteriaOptions options;
  options.rope = rotation.rope;
  options.head_dim = rotation.head_dim;
  options.kv_heads = rotation.kv_heads;
  options.max_position_embeddings = rotation.context;
  return to_json(judge(scheme, tokens, scheme.positions(tokens), options)).dump();
}

std::string misalignment(const std::string& text, const std::string& layout) {
  const Scheme scheme(text);
  const Layout tokens = parse_layout(layout);
  Json result = to_json(resize_misalignment(scheme, tokens), tokens);
  result["distances"] = to_json(anyres_distances(scheme, tokens, scheme.positions(tokens)));
  return result.dump();
}

std::string budget(const std::string& text, const std::string& layout, int64_t context) {
  const Layout tokens = parse_layout(layout);
  return to_json(position_budget(tokens, Scheme(text).positions(tokens), context)).dump();
}

nb::dict scheme_facts(const std::string& text) {
  const Scheme scheme(text);
  nb::dict facts;
  facts["text"] = scheme.text();
  facts["rows"] = nb::cast(scheme.row_names());
  facts["anchored"] = scheme.anchored();
  facts["has_rule"] = scheme.has_rule();
  facts["depends_on_layer"] = scheme.depends_on_layer();
  return facts;
}

PromptTensors prompt_tensors(const Given<int64_t>& input_ids,
                             const std::optional<Given<int64_t>>& attention_mask,
                             const std::map<std::string, Given<int64_t>>& whole,
                             const std::map<std::string, Given<float>>& real) {
  PromptTensors tensors;
  tensors.input_ids = tensor_of(input_ids);
  if (tensors.input_ids.dim() != 2 || tensors.input_ids.numel() == 0) {
    throw InputError("input_ids: expected [batch, tokens], found {} dimensions and {} ids",
                     tensors.input_ids.dim(), tensors.input_ids.numel());
  }
  if (attention_mask) tensors.attention_mask = tensor_of(*attention_mask);
  if (attention_mask && tensors.attention_mask.dim() != 2) {
    throw InputError("attention_mask: expected [batch, tokens], found {} dimensions",
                     tensors.attention_mask.dim());
  }
  for (const auto& [name, array] : whole) tensors.processor.emplace(name, tensor_of(array));
  for (const auto& [name, array] : real) tensors.processor.emplace(name, tensor_of(array));
  return tensors;
}

nb::list table_list(const PlacedPrompt& prompt, int64_t first, int64_t count) {
  nb::list list;
  for (const PassTable& table : prompt.tables(first, count)) {
    // A layer that does not rotate has none.
    if (table.cos.defined()) {
      list.append(nb::make_tuple(array_of(table.cos), array_of(table.sin)));
    } else {
      list.append(nb::none());
    }
  }
  return list;
}

/// Our errors become those of ropescope.errors, by exit code; LibTorch's a RuntimeError of one sentence.
void translate_errors() {
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const Error& error) {
      const nb::object made =
          nb::module_::import_("ropescope.errors").attr("of_exit_code")(error.exit_code(), error.what());
      PyErr_SetObject(made.type().ptr(), made.ptr());
    } catch (const c10::Error& error) {
      PyErr_SetString(PyExc_RuntimeError, error.what_without_backtrace());
    }
  });
}

}  // namespace

}  // namespace ropescope::python

NB_MODULE(_core, m) {
  using namespace ropescope::python;
  using nb::arg;
  translate_errors();
  m.def("version", [] { return ropescope::version(); });
  m.def("commit", [] { return ropescope::commit(); });
  m.def("canonical_layout", &canonical_layout, arg("text"), arg("json"));
  m.def("scheme_facts", &scheme_facts, arg("scheme"));
  m.def("positions", &positions, arg("scheme"), arg("layout"), arg("layer").none(), arg("layers"),
        arg("generated"));
  m.def("rotary_tables", &rotary_tables, arg("scheme"), arg("coordinates"), arg("head_dim").none(),
        arg("kv_heads").none(), arg("rope_theta").none(), arg("rope_scaling").none(), arg("context"));
  m.def("criteria", &criteria, arg("scheme"), arg("layout"), arg("head_dim").none(), arg("kv_heads").none(),
        arg("rope_theta").none(), arg("rope_scaling").none(), arg("context"));
  m.def("misalignment", &misalignment, arg("scheme"), arg("layout"));
  m.def("budget", &budget, arg("scheme"), arg("layout"), arg("context"));
  nb::class_<ModelFolder>(m, "ModelFolder")
      .def("__init__", [](ModelFolder* self, const std::string& folder) { new (self) ModelFolder(folder); })
      .def_prop_ro("adjacent_pairs",
                   [](const ModelFolder& folder) {
                     return folder.config().pairing == ropescope::PairLayout::kAdjacent;
                   })
      .def(
          "heads_differ",
          [](const ModelFolder& folder, const std::string& scheme) {
            return folder.heads_differ(ropescope::Scheme(scheme));
          },
          arg("scheme"));
  nb::class_<PlacedPrompt>(m, "PlacedPrompt")
      .def(
          "__init__",
          [](PlacedPrompt* self, const ModelFolder& folder, const std::string& scheme,
             const Given<int64_t>& input_ids, const std::optional<Given<int64_t>>& attention_mask,
             const std::map<std::string, Given<int64_t>>& whole,
             const std::map<std::string, Given<float>>& real) {
            new (self) PlacedPrompt(folder, prompt_tensors(input_ids, attention_mask, whole, real), scheme);
          },
          arg("folder"), arg("scheme"), arg("input_ids"), arg("attention_mask").none(), arg("whole"),
          arg("real"))
      .def_prop_ro("batch", &PlacedPrompt::batch)
      .def_prop_ro("columns", &PlacedPrompt::columns)
      .def("position_ids", [](const PlacedPrompt& prompt, int64_t first,
                              int64_t count) { return array_of(prompt.position_ids(first, count)); })
      .def("tables", &table_list);
}
