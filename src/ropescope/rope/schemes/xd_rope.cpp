// XD-RoPE, the encoding of HunyuanOCR and HunYuan-VL (arXiv 2511.19575): p = index in the sequence; of a picture's
// cell w = column, h = row, n = number of the picture in the sequence, all from 0 and never moved by the text; of text
// w = h = n = p. A picture's last column is the newline token of its rows, which a grid's w counts.
#include "ropescope/core/errors.h"
#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

namespace {

class XdDesign : public PositionDesign {
 public:
  explicit XdDesign(bool with_index) : with_index_(with_index) {}

  int64_t axes() const override { return with_index_ ? 4 : 3; }
  std::vector<std::string> row_names() const override {
    return with_index_ ? std::vector<std::string>{"p", "w", "h", "n"}
                       : std::vector<std::string>{"w", "h", "n"};
  }
  std::vector<int64_t> default_sections(int64_t channels) const override {
    std::vector<int64_t> equal(static_cast<size_t>(axes()), channels / axes());
    equal[0] += channels % axes();
    return equal;
  }

  double place(const Grid& grid, double base, const CoordinateRows& rows) const override {
    const size_t first = with_index_ ? 1 : 0;
    double* const w = rows[first];
    double* const h = rows[first + 1];
    double* const n = rows[first + 2];
    for_each_cell(grid, [&](int64_t token, int64_t tau, int64_t y, int64_t x) {
      w[token] = static_cast<double>(x);
      h[token] = static_cast<double>(y);
      n[token] = static_cast<double>(grid.number + tau);  // each frame is a picture of its own
    });
    for (int64_t i = 0; i < grid.tokens() && with_index_; ++i) rows[0][i] = base + static_cast<double>(i);
    return base + static_cast<double>(grid.tokens());
  }

 private:
  bool with_index_;
};

}  // namespace

extern const SchemeDefinition kXdRope = {
    "xd-rope",
    "four coordinates: index in the sequence, column, row and number of the picture, in equal chunks of channels",
    "HunyuanOCR, arXiv 2511.19575",
    {{"rows", "4", "4 (p, w, h, n), or 3 without the index p"},
     {"sections", "", "channels of p/w/h/n, or of w/h/n; equal parts unless given"}},
    chunked_allocation,
    [](const Parameters& parameters,
       std::shared_ptr<const PositionDesign>) -> std::shared_ptr<const PositionDesign> {
      return std::make_shared<XdDesign>(parameters.choice("rows", {"4", "3"}) == "4");
    },
    "",
    {}};

}  // namespace ropescope
