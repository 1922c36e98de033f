#include "trace/trace_scheme.h"

#include "ropescope/core/errors.h"

namespace ropescope::app::trace {

namespace {

Layout one_layout(const LayoutFlags& flags, int64_t tokens) {
  const Layout layout = flags.read().value_or(parse_layout(fmt::format("text:{}", tokens)));
  if (layout.tokens() != tokens) {
    throw UsageError("--{}: expected a layout of the prompt's {} tokens, found {} ({})",
                     flags.layout_file ? "layout-file" : "layout", tokens, layout.tokens(),
                     layout_text(layout));
  }
  return layout;
}

// Ids are taken as they are; the scheme says which channels follow which axis.
TraceEncoding table_of_given_ids(const Scheme& scheme, const EncodedModel& model, const at::Tensor& ids) {
  if (scheme.changes_attention()) {
    throw UsageError(
        "--scheme {}: expected --layout, since position ids alone do not say which tokens belong together",
        scheme.text());
  }
  if (ids.size(0) != 1 && ids.size(0) != scheme.axes()) {
    throw UsageError("--scheme {}: expected position ids of {} axes, found {}", scheme.text(), scheme.axes(),
                     ids.size(0));
  }
  TraceEncoding result;
  result.position_ids = ids;
  result.prompt = encoding_of_ids(scheme, model, ids);
  return result;
}

}  // namespace

void SchemeFlags::bind(Flags& flags) {
  flags
      .add(
          "scheme", scheme,
          "position encoding, for example id-align or mrope:sections=8/12/12; see `ropescope positions --list`; default: that which the model was trained under, as its config.json says")
      .alias("schemes");
  layout.bind(flags,
              "what the tokens are, for example text:5,anyres:24x24+48x48,text:7; text only unless given");
}

TraceEncoding trace_encoding(const SchemeFlags& flags, const EncodedModel& model, int64_t tokens,
                             const at::Tensor& given_ids, const std::optional<Layout>& of_images) {
  const bool layout = flags.layout.given();
  if (!flags.scheme) {
    if (layout) {
      throw UsageError("--layout: expected --scheme too, which says what positions its tokens take");
    }
    return {};
  }
  const Scheme scheme(*flags.scheme);
  if (given_ids.defined()) {
    if (layout) {
      throw UsageError("--layout: expected no position_ids in the tokens file, which would contradict it");
    }
    return table_of_given_ids(scheme, model, given_ids);
  }
  if (of_images && layout) throw UsageError("--layout: expected none beside images, which make the layout");
  TraceEncoding result;
  result.sequence.emplace(scheme, of_images ? *of_images : one_layout(flags.layout, tokens), model);
  result.prompt = result.sequence->pass(0, tokens);
  result.position_ids = result.sequence->coordinates(tokens).unsqueeze(1);
  return result;
}

}  // namespace ropescope::app::trace
