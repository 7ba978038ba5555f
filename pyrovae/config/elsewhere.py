"""What has another name in other libraries: the hint in the error of such a name."""

from __future__ import annotations

import re

__all__ = ["known_elsewhere"]

#: The names of other libraries, in lower case without hyphens, by what pyrovae calls them.
HERE = {
    "--beta.value": "betavae betah betavaeh kldweight klweight klcoeff",
    "--likelihood Bernoulli": "bce binarycrossentropy",
    "--likelihood DiscretizedLogistic": "logcosh logcoshvae",
    "--likelihood Normal": "mse gaussian l2",
    "--likelihood SharedScaleNormal": "sigmavae",
    "--likelihood Masked with --objective IWAE": "miwae partialvae",
    "--objective BetaTC": "betatcvae btcvae factorvae",
    "--objective Capacity": "betab betavaeb",
    "--objective DIP": "dipvae",
    "--objective Denoising": "dvae denoisingvae",
    "--objective IWAE": "iwae",
    "--objective MMD": "infovae infovaemmd mmdvae",
    "--objective MMD --objective.alpha 1": "wae waemmd",
    "--objective RenyiELBO": "vriwae vrmax renyi",
    "--objective StickingTheLanding": "stl",
    "--optimizer.lr": "learningrate",
    "--posterior InverseAutoregressiveFlow": "iaf vaeiaf iafvae",
    "--posterior VonMisesFisher with --prior HypersphericalUniform": "svae",
    "--prior FlowPrior": "realnvp maf nvp",
    "--prior VampPrior": "vampvae vampprior vamp",
    "--program ConditionalVAE": "cvae conditionalvae",
    "--program LadderVAE": "lvae laddervae hvae",
    "--program MixtureVAE": "vade gmvae mixturevae",
    "--program SemiSupervisedVAE": "m2 ssvae semisupervisedvae",
    "--program VAE": "vanillavae",
    "--trainer.batch_size": "trainbatchsize",
    "--trainer.epochs": "numepochs maxepochs nepochs",
    "--trainer.patience": "earlystopping",
    "--trainer.seed": "manualseed",
}
#: Models that pyrovae lacks.
NOWHERE = (
    "aae ae autoencoder categoricalvae dfcvae gammavae gumbelvae msssimvae mssim "
    "mssimvae poincare poincarevae rae rhvae swae vaegan vqvae"
)


def known_elsewhere(name: str) -> str:
    """A hint to append to an unknown name that other libraries know; "" for other names.

    Args:
        name: the name of a class or an option, as it was typed.

    Example:
        >>> known_elsewhere("LVAE"), known_elsewhere("VQ-VAE"), known_elsewhere("Shaft")
        (' (here: --program LadderVAE)', ' (pyrovae does not have this model)', '')
    """
    plain = re.sub("[-_ ]", "", name.rpartition(".")[2]).lower()
    for here, names in HERE.items():
        if plain in names.split():
            return f" (here: {here})"
    return " (pyrovae does not have this model)" if plain in NOWHERE.split() else ""
