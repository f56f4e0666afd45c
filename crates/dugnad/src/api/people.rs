//! People whom the centre's identity provider knows: their access tokens on the API, and what their sign-in gives.

use super::{ApiError, App};
use crate::access::{Identity, Principal, Provider, Role, SignInError};
use crate::limits::{RETRY_AFTER_S, SIGNED_IN_FOR};
use axum::http::StatusCode;
use dugnad_kernel::fhir::issue::IssueType;
use std::sync::Arc;

/// Who has a token of the provider.
pub(super) enum Person {
    Known(Principal),
    /// The provider has signed it for here, and no rule says who its user is.
    NoRule,
    /// It is not for here, or not any more.
    Nobody,
}

/// Whether a token has the form of a signed one, which this server never issues.
pub fn is_signed(token: &str) -> bool {
    token.matches('.').count() == 2
}

impl App {
    /// The identity provider, if there is one.
    pub fn provider(&self) -> Option<Arc<Provider>> {
        self.0.provider.clone()
    }

    /// Runs what may wait for the provider, in a bounded number.
    pub async fn with_provider<T, F>(&self, job: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
    {
        let place = self.0.sign_ins.enter("too many sign-ins are under way").await?;
        self.on_thread(place, job).await
    }

    /// Runs what may wait for the servers of clients, in a number of its own.
    pub(super) async fn with_clients<T, F>(&self, job: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
    {
        let place = self.0.grants.enter("too many requests for tokens are under way").await?;
        self.on_thread(place, job).await
    }

    /// Who has an access token of the provider. A provider that cannot be asked is an error, and no answer.
    pub(super) async fn person(&self, provider: Arc<Provider>, token: &str) -> Result<Person, ApiError> {
        let (token, first) = (token.to_owned(), !self.logins().is_known(token));
        self.with_provider(move |app| match provider.bearer(&token, app.now()) {
            Ok((identity, until)) => {
                if first {
                    app.bind(&identity)?;
                }
                let Identity { user, role, holder, .. } = identity;
                Ok(Person::Known(Principal { until: Some(until), ..Principal::new(user, role, holder) }))
            }
            Err(error @ (SignInError::Provider(_) | SignInError::Secret(_))) => Err(app.not_signed_in(&error)),
            Err(SignInError::NoRule) => Ok(Person::NoRule),
            Err(error) => {
                tracing::debug!(%error, "an access token was refused");
                Ok(Person::Nobody)
            }
        })
        .await
    }

    /// 503: the provider cannot be asked.
    pub fn not_signed_in(&self, error: &SignInError) -> ApiError {
        tracing::warn!(%error, "the identity provider cannot be asked");
        let what = format!(
            "the identity provider cannot be reached, so that nobody can be let in by it; try again in {RETRY_AFTER_S} s, or use a token of the centre"
        );
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, IssueType::Exception, what)
            .with_header(axum::http::header::RETRY_AFTER, axum::http::HeaderValue::from(RETRY_AFTER_S))
    }

    /// A token for the session of somebody who has signed in. Blocks.
    pub fn token_for(&self, identity: &Identity) -> Result<String, ApiError> {
        self.bind(identity)?;
        let Identity { user, role, holder, .. } = identity;
        self.tokens().issue_for_session(user, *role, holder.as_deref(), SIGNED_IN_FOR).map_err(ApiError::from)
    }

    /// Binds a patient to the Patient that has their national identifier, of whichever hospital: others of the person are found from
    /// there. Where there is none yet, or the claim names another now, the next sign-in finds it. Blocks.
    fn bind(&self, identity: &Identity) -> Result<(), ApiError> {
        let Some((system, value)) = identity.person.as_ref().filter(|_| identity.role == Role::Patient) else { return Ok(()) };
        let patients = self.database().patients_with(system, value)?;
        let names = self.database().patient_names(&patients)?;
        let holders = self.database().holders();
        let named = names.into_iter().flatten().find_map(|(holder, id)| {
            let holder = holders.iter().find(|known| known.id == holder)?;
            Some((holder.name.clone(), id))
        });
        // Whom an earlier claim has named is not who this one names.
        if self.tokens().subject(&identity.user)? != named {
            let named = named.as_ref().map(|(holder, patient)| (holder.as_str(), patient.as_str()));
            self.tokens().bind(&identity.user, named)?;
        }
        Ok(())
    }
}
