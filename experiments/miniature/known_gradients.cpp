#include "known_gradients.h"

#include <ATen/ops/empty.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/errors.h"

namespace ropescope::miniature {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class KnownGradients : public torch::autograd::Function<KnownGradients> {
 public:
  static at::Tensor forward(AutogradContext* context, at::TensorList inputs,
                            std::vector<at::Tensor>* gradients, double value) {
    if (inputs.size() != gradients->size()) throw InternalError("with_gradients: lists differ");
    context->saved_data["gradients"] = std::move(*gradients);
    at::Tensor number = at::empty({});
    number.fill_(value);
    return number;
  }

  static variable_list backward(AutogradContext* context, variable_list outer) {
    const bool as_it_is = outer[0].item<double>() == 1.0;
    variable_list gradients;
    for (const at::Tensor& gradient : context->saved_data["gradients"].toTensorVector()) {
      gradients.push_back(as_it_is ? gradient : gradient.mul(outer[0]));
    }
    context->saved_data.clear();
    gradients.resize(gradients.size() + 2);  // what is no tensor
    return gradients;
  }
};

}  // namespace

at::Tensor with_gradients(double value, const std::vector<at::Tensor>& inputs,
                          std::vector<at::Tensor> gradients) {
  return KnownGradients::apply(at::TensorList(inputs), &gradients, value);
}

}  // namespace ropescope::miniature
