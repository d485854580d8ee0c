//! Owns what a trial says when it refuses an import: what is wrong, what was found and expected, what to do.

use std::path::Path;

use super::Foreign;
use super::compare::{Company, Difference};
use crate::error::{Error, Kind, Result};

/// Of two runs that differ by more, one counted what it must not count: sums in another order differ by far less.
const ROUNDING: f64 = 1e-4;

/// What every refusal names.
pub(super) struct Refusals<'r> {
    pub source: &'r Path,
    pub directory: &'r Path,
    pub foreign: Option<&'r Foreign>,
    /// Of ONNX Runtime.
    pub version: &'r str,
}

impl Refusals<'_> {
    fn refusal(&self, message: &str) -> Error {
        Error::new(Kind::Model, message).at(self.source)
    }

    /// Advice for whom a network was exported wrongly, or whose checkpoint is broken.
    fn remedy(&self, of_graph: &str) -> String {
        match self.foreign {
            Some(_) => format!("{of_graph}, or import the model's directory with model.safetensors"),
            None => "check that config.json, the weights and tokenizer.json are of one model and complete"
                .to_owned(),
        }
    }

    /// What ONNX Runtime says, without the name of a directory that nobody knows.
    fn cause(&self, error: &Error) -> String {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        cause.to_string().replace(&format!("{}/", self.directory.display()), "").trim_end().to_owned()
    }

    pub(super) fn cannot_load(&self, error: &Error) -> Error {
        let refused = self.refusal("ONNX Runtime cannot load the graph").because(self.cause(error));
        let Some(foreign) = self.foreign else { return refused.help(self.remedy("")) };
        refused
            .found(&foreign.needs)
            .expected(format!("what ONNX Runtime {} knows", self.version))
            .help(self.remedy(
                "download the file again if it may be damaged; export it with an older opset and without operators of its own; \
                 for a newer ONNX Runtime say --onnxruntime PATH",
            ))
    }

    pub(super) fn does_not_run(&self, error: &Error) -> Error {
        self.refusal("the network cannot run a text")
            .because(self.cause(error))
            .help(self.remedy("export the encoder again with batch and sequence as dynamic axes"))
    }

    pub(super) fn one_text_at_a_time(&self, error: &Error) -> Error {
        self.refusal("the network cannot run two texts together")
            .found("a graph for batches of one")
            .expected("batches of any size")
            .because(self.cause(error))
            .help(self.remedy("export the encoder again with the batch as a dynamic axis"))
    }

    pub(super) fn unknown_id(&self, largest: u32, known: usize, error: &Error) -> Error {
        self.refusal("the tokenizer has token ids that the network does not know")
            .found(format!("ids up to {largest}"))
            .expected(format!("ids up to {known}, the last that runs"))
            .because(self.cause(error))
            .help("take tokenizer.json from the same place as the weights, or say --tokenizer FILE")
    }

    pub(super) fn too_long(&self, promised: usize, longest: usize, error: &Error) -> Error {
        self.refusal("the network cannot run texts as long as they may be")
            .found(format!("{longest} tokens, the most that run"))
            .expected(format!("{promised}, the maximum length"))
            .because(self.cause(error))
            .help(format!("say --max-length {longest}"))
    }

    pub(super) fn other_shape(&self, foreign: &Foreign, found: &[usize], expected: &[usize]) -> Error {
        let pooled = foreign.output.pooled;
        let wanted = if pooled { "[batch, width]" } else { "[batch, sequence, hidden]" };
        self.refusal("the graph's output does not have the shape that it declares")
            .tensor(&foreign.output.name)
            .found(format!("{found:?}"))
            .expected(format!("{expected:?}, that is {wanted}"))
            .help(self.remedy("export the encoder again with the shape that its output really has"))
    }

    pub(super) fn scaled(&self, foreign: &Foreign) -> Error {
        Error::new(
            Kind::Usage,
            "--normalize false changes nothing: the graph scales its embeddings to length 1 itself",
        )
        .at(self.source)
        .tensor(&foreign.output.name)
        .help("leave --normalize away, or export the encoder without its normalisation")
    }

    pub(super) fn other_graph(&self, name: &str) -> Error {
        self.refusal("two graphs of one network give a text different numbers; this is a bug").found(name)
    }

    /// # Errors
    /// A number is not finite.
    pub(super) fn check_finite(&self, numbers: &[f32], what: &str) -> Result<()> {
        let Some(number) = numbers.iter().find(|number| !number.is_finite()) else { return Ok(()) };
        let help = match self.foreign {
            Some(_) => {
                "export the encoder in fp32 and check its outputs, or import the model's directory with model.safetensors"
            }
            None => {
                "the checkpoint is damaged, its training diverged, or its numbers overflow 32-bit floats: use another one"
            }
        };
        Err(self
            .refusal("the network gives numbers that are not finite")
            .found(format!("{number} for {what}"))
            .expected("finite numbers")
            .help(help))
    }

    pub(super) fn other_bits(&self, difference: Difference) -> Error {
        let Difference { company, texts, cosine, share } = difference;
        let beside = match company {
            Company::Batch => format!("in a batch of {texts}"),
            Company::Padding => "padded further".to_owned(),
            Company::Longer => "beside a longer one".to_owned(),
        };
        let found = if share > ROUNDING {
            format!("a cosine of {cosine:.4} between a text alone and the same text {beside}")
        } else {
            format!(
                "numbers that differ by up to {share:.0e} of the largest between a text alone and the same text {beside}"
            )
        };
        let quantised = self.foreign.and_then(|foreign| foreign.quantises_batches);
        let (why, help) = match (quantised, company) {
            (Some(operator), _) => (
                format!("it is quantised dynamically ({operator}): one scale is taken from all texts of a batch"),
                "import the model's directory with model.safetensors and let `frosthead bundle --precision int8` quantise it, or \
                 import its fp32 export"
                    .to_owned(),
            ),
            (None, Company::Batch) => (
                "it mixes the texts of a batch, or computes them by another way when there are more".to_owned(),
                self.remedy("export the encoder in fp32 with the batch as a dynamic axis"),
            ),
            (None, _) if share > ROUNDING => (
                "it counts padding as text: the attention mask is left out of something (such as its pooling)".to_owned(),
                self.remedy(
                    "export the encoder again, traced with a mask that has zeros, and with its token states as the output \
                     (last_hidden_state)",
                ),
            ),
            (None, _) => (
                "it adds its numbers in an order that depends on the padding".to_owned(),
                self.remedy("export the encoder with its token states as the output (last_hidden_state), which are pooled here"),
            ),
        };
        self.refusal("a text's embedding depends on what it is run with")
            .found(found)
            .expected("the same numbers to the last bit")
            .because(why)
            .help(help)
    }
}
