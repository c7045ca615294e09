#pragma once
// Values as text, the same in printed recipes, the option reference and messages.

#include <string>
#include <string_view>
#include <vector>

#include "config/fields.h"

namespace mara::config {

/// "integer", "list of numbers", ...
std::string type_name(const Ref& value);

/// The value as YAML that reads back to the same bits; lists in flow form.
std::string value_text(const Ref& value);

/// Text as a YAML scalar, in double quotes only where it could be read as something else.
std::string scalar_text(const std::string& text);

/// For messages and requirements: shortest form, "2" rather than "2.0".
std::string number_text(double value);

/// "a, b, c"
std::string join(const std::vector<std::string>& parts);

/// The candidate most like `word` in spelling, empty where none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// "; did you mean 'x'?", or "; <what>: a, b, c" where nothing is near.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates, const std::string& what);

}  // namespace mara::config
